"""An audit in a notebook: its doubts one by one, as a table of pandas, and as HTML."""

import subprocess
import sys

import numpy as np
import pytest

from scbch_keras.labels.audit import LabelAudit, PosteriorAudit
from scbch_keras.labels.posterior import LabelPosterior
from scbch_keras.labels.posterior_audit import audit_by_posterior
from tests.page import Page

pytestmark = pytest.mark.numpy_only

HOSTILE = "<script>alert(1)</script>\u202e"


def by_hand(samples=3):
    """Of the first sample a label is wrong and one is missing, of the last one is missing."""
    labels = np.zeros((samples, 3), "uint8")
    labels[:, 0] = 1
    probabilities = labels * 0.9
    probabilities[0] = 0.1, 0.8, 0.3
    probabilities[-1, 2] = 0.7
    ids = np.array([f"s{row}" for row in range(samples)])
    return PosteriorAudit(
        ids,
        np.full(samples, 0.5),
        labels,
        probabilities,
        (HOSTILE, "tree", "sea"),
        probabilities=probabilities,
    )


def test_doubts_come_one_by_one_the_most_doubtful_sample_first():
    doubts = list(by_hand().doubts())
    assert [doubt[:4] for doubt in doubts] == [
        (0, "s0", HOSTILE, "given"),
        (0, "s0", "tree", "missing"),
        (2, "s2", "sea", "missing"),
    ]
    assert [doubt.evidence for doubt in doubts] == pytest.approx([0.1, 0.8, 0.7])
    assert [doubt.suspicion for doubt in doubts] == pytest.approx([2.0, 2.0, 0.8])
    assert len(list(by_hand().doubts(threshold=0.25))) == 2
    with pytest.raises(ValueError, match="threshold"):
        list(by_hand().doubts(threshold=2))


def test_an_audit_is_a_table_of_pandas():
    pytest.importorskip("pandas")
    table = by_hand().to_pandas()
    assert table.index.tolist() == ["s0", "s2", "s1"]
    assert table.index.name == "id"
    assert table.loc["s0", "contradicted"] == (HOSTILE,)
    assert table.loc["s2", "suggested"] == ("sea",)
    assert table["row"].tolist() == [0, 2, 1]
    assert table["suspicion"].is_monotonic_decreasing


def test_without_pandas_the_error_says_what_to_install_and_without_jinja2_a_notebook_shows_text():
    code = (
        "import sys; sys.modules |= {'pandas': None, 'jinja2': None}; import numpy as np\n"
        "from scbch_keras.labels.audit import LabelAudit\n"
        "audit = LabelAudit(np.array(['a']), np.ones(1), np.ones((1, 1), 'uint8'), np.ones((1, 1)), ('x',))\n"
        "assert audit._repr_html_() is None\n"
        "try: audit.to_pandas()\n"
        "except ImportError as error: assert 'pip install pandas' in str(error); print('told')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "told\n", done.stderr


def test_a_notebook_shows_the_first_doubts_and_escapes_what_comes_from_the_data():
    html = by_hand()._repr_html_()
    page = Page(html)
    assert page.errors == page.open == []
    assert {tag for tag, _ in page.tags} == {
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "del",
        "ins",
    }
    assert "\u202e" not in html
    assert "3 samples; 1 given labels doubted, 2 probably missing" in page.words
    labels = np.eye(60, dtype="uint8")
    many = PosteriorAudit(
        np.arange(60).astype(str), np.ones(60), labels, 1.0 - labels, [str(n) for n in range(60)],
        probabilities=1.0 - labels,
    )  # fmt: skip
    html = many._repr_html_()
    assert html.count("<tr>") == 21
    assert "and 3,580 more doubts" in html


def test_an_audit_by_a_posterior_alone_says_how_well_labels_agree_with_it():
    probabilities = np.array([[0.9, 0.1], [0.25, 0.75], [0, 0]], "float32")
    labels = np.array([[1, 0], [1, 0], [0, 0]], "uint8")
    posterior = LabelPosterior(probabilities, probabilities, 0.1, 0.1, 0.1, 1.0, "independent")
    audit = audit_by_posterior(np.array(["a", "b", "c"]), labels, posterior, ("x", "y"))
    np.testing.assert_allclose(audit.confidence, [0.9 / 1.1, 0.25 / 1.75, 1])
    assert audit.suspects(1).tolist() == [1]
    assert isinstance(audit, LabelAudit)
    with pytest.raises(
        ValueError, match=r"labels must have the shape of the probabilities, \(3, 2\); got \(2, 2\)"
    ):
        audit_by_posterior(np.array(["a", "b"]), labels[:2], posterior, ("x", "y"))
