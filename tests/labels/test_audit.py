"""The label audit: doubts, order and score by hand and by brute force; its CSV; its page."""

import base64
import csv
import hashlib
import io
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from scbch_keras.labels.audit import LabelAudit, PosteriorAudit, auroc, precision_at_wrong
from scbch_keras.safe_text import from_csv_cell
from scbch_keras.training.pages.audit_page import write_audit_page
from tests.page import Page

pytestmark = [pytest.mark.numpy_only, pytest.mark.filterwarnings("error")]

HOSTILE = "<script>alert('x')</script>&\""


def by_hand(**changes):
    """Four samples, three labels with base rates 1/2, 1/2 and 1/4."""
    return replace(
        LabelAudit(
            ids=np.array(["d", "a", "c", "b"]),
            confidence=np.array([0.6, 0.9, 0.6, 0.5], "float32"),
            labels=np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]], "uint8"),
            soft_labels=np.array(
                [[0.2, 0.8, 0.1], [0.9, 0.4, 0], [0.1, 0.25, 0.12], [0.75, 0.8, 0]], "float32"
            ),
            label_names=("sky", "tree", "sea"),
        ),
        **changes,
    )


def random_audit(samples=40, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    return LabelAudit(
        ids=np.array([f"s{row}" for row in rng.permutation(samples)]),
        confidence=rng.integers(1, 9, samples) / 8,
        labels=(rng.random((samples, classes)) < 0.4).astype("uint8"),
        soft_labels=rng.integers(0, 5, (samples, classes)) / 4,
        label_names=[f"label {column}" for column in range(classes)],
    )


def test_doubts_by_hand():
    audit = by_hand()
    np.testing.assert_array_equal(audit.base_rates, [0.5, 0.5, 0.25])
    # given: below 1/4, 1/4, 1/8; a soft label of just 1/4 is not below it
    np.testing.assert_array_equal(audit.contradicted(), [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]])
    # not given: above 3/4, 3/4, 5/8
    np.testing.assert_array_equal(audit.suggested(), [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]])
    # below 1/2, 1/2, 1/4 and above the same
    np.testing.assert_array_equal(audit.contradicted(1), [[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(audit.suggested(1), [[0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 1, 0]])


def test_the_doubts_of_a_sample_come_by_strength():
    third, fourth = by_hand().samples(np.array([2, 3]), threshold=1)
    assert (third.row, third.id, third.confidence) == (2, "c", pytest.approx(0.6))
    assert [name for name, _ in third.given] == ["tree", "sea"]
    assert [name for name, _ in third.contradicted] == ["sea", "tree"]
    assert [name for name, _ in fourth.suggested] == ["tree", "sky"]
    assert [soft for _, soft in fourth.suggested] == pytest.approx([0.8, 0.75])
    assert fourth.given == fourth.contradicted == third.suggested == ()


def test_suspicion_and_order_by_hand():
    audit = by_hand()
    # odds .85/.25, .05/.9, .15/.34, .85/.05: ranks 3, 1, 2, 4; confidence ranks 2.5, 1, 2.5, 4
    np.testing.assert_array_equal(audit.suspicion, [5.5 / 8, 2 / 8, 4.5 / 8, 1])
    np.testing.assert_array_equal(audit.suspects(), [3, 0, 2, 1])
    np.testing.assert_array_equal(audit.suspects(by="confidence"), [3, 2, 0, 1])  # "c" before "d"
    np.testing.assert_array_equal(audit.suspects(2, by="confidence"), [3, 2])
    np.testing.assert_array_equal(audit.suspects(None), audit.suspects(4))


def test_the_more_labels_the_less_says_the_lowest():
    labels, soft = np.eye(4, dtype="uint8"), np.full((4, 4), 0.1)
    labels[0, 1:3] = 1  # three labels, each as doubtful as the one of the others
    audit = LabelAudit(np.array(list("abcd")), np.full(4, 0.7), labels, soft, list("wxyz"))
    np.testing.assert_array_equal(audit.suspicion, (np.array([1, 3, 3, 3]) + 2.5) / 8)


def test_odd_soft_labels_are_clipped():
    soft = by_hand().soft_labels.copy()
    soft[0, 0], soft[0, 1] = -3, 7
    clipped = by_hand(soft_labels=np.clip(soft, 0, 1))
    np.testing.assert_array_equal(by_hand(soft_labels=soft).suspicion, clipped.suspicion)


def test_an_even_spread_of_all_labels_is_all_right():
    labels = np.array([[0, 0], [1, 1]], "uint8")
    audit = LabelAudit(np.array(["a", "b"]), np.array([0.5, 1]), labels, np.zeros((2, 2)), ["x", "y"])
    assert not audit.suggested().any()
    np.testing.assert_array_equal(audit.contradicted(), labels)
    assert np.isfinite(audit.suspicion).all()


def posterior_by_hand():
    probabilities = np.array([[0.4, 0.7, 0.1], [0.9, 0.5, 0], [0.5, 0.75, 0.2], [0.1, 0.2, 0]], "float32")
    return PosteriorAudit(**vars(by_hand()), probabilities=probabilities)


def test_probabilities_by_hand():
    audit = posterior_by_hand()
    np.testing.assert_array_equal(audit.contradicted(), [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(audit.suggested(), [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(audit.suggested(0.8), [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(
        audit.suspicion, [0.6 + 0.7 + 0.1, 0.1 + 0.5, 0.5 + 0.25 + 0.8, 0.3], rtol=1e-6
    )
    assert audit.suspects().tolist() == [2, 0, 1, 3]
    first = next(audit.samples(np.array([0])))
    assert [label for label, _ in first.contradicted] == ["sky"]
    assert first.suggested[0] == ("tree", pytest.approx(0.7))


def test_probabilities_are_held_against_the_truth():
    audit = posterior_by_hand()
    clean = np.array([[0, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], "uint8")
    score = audit.score(clean)
    # wrong among the given: .4 and .2; right: .9, .5, .75. Missing: .7; rightly absent: .1, 0, .5, .1, .2, 0
    assert score.given_labels.auroc == score.missing_labels.auroc == 1
    assert score.given_labels.precision == 1
    given = score.given_reliability
    np.testing.assert_allclose(given.probability, [0.2, 0.4, 0.5, 0.75, 0.9], rtol=1e-6)
    assert (given.true, given.labels) == ((0, 0, 1, 1, 1), (1, 1, 1, 1, 1))
    assert given.error == pytest.approx((0.2 + 0.4 + 0.5 + 0.25 + 0.1) / 5)
    missing = score.missing_reliability
    np.testing.assert_allclose(missing.probability, [0, 0.1, 0.2, 0.5, 0.7], atol=1e-6)
    assert (missing.true, missing.labels) == ((0, 0, 0, 0, 1), (2, 2, 1, 1, 1))
    assert by_hand().score(clean).given_reliability is None


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(value):
    probabilities = np.full((4, 3), 0.5)
    probabilities[2, 1] = value
    with pytest.raises(
        ValueError,
        match=r"probabilities must (hold only .* is 2|be finite; row 2)",
    ):
        PosteriorAudit(**vars(by_hand()), probabilities=probabilities)


def test_precision_among_the_first():
    doubt, wrong = np.arange(40)[::-1] / 40, np.arange(40) % 4 < 2
    audit = replace(
        random_audit(), confidence=1 - doubt, labels=np.zeros((40, 5), "uint8"), soft_labels=np.zeros((40, 5))
    )
    ranking = audit.score(np.repeat(wrong[:, None], 5, axis=1).astype("uint8")).by_confidence
    assert ranking.first == ((10, 0.6), (30, pytest.approx(16 / 30)))


def pairs_counted(doubt, wrong):
    pairs = [(a, b) for a in doubt[wrong] for b in doubt[~wrong]]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def orders_drawn(doubt, wrong, draws=400):
    rng, count = np.random.default_rng(0), int(wrong.sum())
    hits = []
    for _ in range(draws):
        order = np.lexsort((rng.random(len(doubt)), -doubt))[:count]
        hits.append(wrong[order].mean())
    return np.mean(hits)


@st.composite
def doubts(draw):
    size = draw(st.integers(2, 30))
    doubt = draw(hnp.arrays(np.float64, size, elements=st.integers(0, draw(st.integers(0, 9)))))
    wrong = draw(hnp.arrays(bool, size).filter(lambda wrong: wrong.any() and not wrong.all()))
    return doubt, wrong


@given(doubts())
@settings(deadline=None, max_examples=100)
def test_auroc_is_the_share_of_ordered_pairs(case):
    assert auroc(*case) == pytest.approx(pairs_counted(*case))


@given(doubts())
@settings(deadline=None, max_examples=25)
def test_precision_is_its_mean_over_the_orders_of_ties(case):
    assert precision_at_wrong(*case) == pytest.approx(orders_drawn(*case), abs=0.12)


def test_precision_by_hand():
    doubt = np.array([3, 2, 2, 2, 1])
    # of the first two places one is the 3, the other any of the tied three, one of them wrong
    assert precision_at_wrong(doubt, np.array([True, True, False, False, False])) == pytest.approx(2 / 3)
    assert precision_at_wrong(doubt, np.array([False, False, False, False, True])) == 0


@given(st.integers(0, 999))
@settings(deadline=None, max_examples=30)
def test_the_score_is_that_of_brute_force(seed):
    audit = random_audit(20, 3, seed)
    clean = audit.labels ^ (np.random.default_rng(seed).random((20, 3)) < 0.15)
    score = audit.score(clean)
    corrupted = np.array([list(a) != list(b) for a, b in zip(audit.labels, clean, strict=True)])
    np.testing.assert_array_equal(score.corrupted, corrupted)
    entries = {1: [], 0: []}
    for row, column in np.ndindex(clean.shape):
        entries[audit.labels[row, column]].append((audit.soft_labels[row, column], clean[row, column]))
    for ranking, doubt, wrong in [
        (score.by_suspicion, audit.suspicion, corrupted),
        (score.by_confidence, -audit.confidence, corrupted),
        (
            score.given_labels,
            -np.array([soft for soft, _ in entries[1]]),
            [not true for _, true in entries[1]],
        ),
        (score.missing_labels, np.array([soft for soft, _ in entries[0]]), [true for _, true in entries[0]]),
    ]:
        wrong = np.array(wrong, bool)
        assert (ranking.items, ranking.wrong) == (len(wrong), wrong.sum())
        if ranking.reason is None:
            assert ranking.auroc == pytest.approx(pairs_counted(doubt, wrong))
            assert ranking.precision == pytest.approx(precision_at_wrong(doubt, wrong))
        else:
            assert ranking.auroc is ranking.precision is None
            assert len(set(wrong)) < 2


def test_where_nothing_or_everything_is_wrong_there_is_a_reason_in_place_of_a_number():
    audit = by_hand()
    clean, flipped = audit.score(audit.labels), audit.score(1 - audit.labels)
    assert clean.by_suspicion == (4, 0, None, None, "no sample is corrupted", ())
    assert clean.given_labels == (5, 0, None, None, "no given label is wrong", ())
    assert flipped.by_confidence == (4, 4, None, None, "every sample is corrupted", ())
    assert flipped.missing_labels == (7, 7, None, None, "every label that is not given is true", ())
    everything = by_hand(labels=np.ones((4, 3), "uint8"))
    assert everything.score(audit.labels).missing_labels.reason == "there is no label that is not given"


def test_exchanged_labels_are_found_with_what_was_there_before():
    """Labels that neighbours share, and a tenth of the samples with one exchanged."""
    rng = np.random.default_rng(0)
    true = np.eye(6, dtype="uint8")[rng.integers(0, 6, 300)]
    labels = true.copy()
    labels[:30] = np.roll(true[:30], 1, axis=1)
    soft = np.clip(0.8 * true + 0.04 + rng.normal(0, 0.01, true.shape), 0, 1)
    cosine = (soft * labels).sum(1) / np.linalg.norm(soft, axis=1)
    audit = LabelAudit(np.arange(300).astype(str), (1 + cosine) / 2, labels, soft, list("abcdef"))
    score = audit.score(true)
    assert score.by_suspicion.auroc == score.by_suspicion.precision == 1
    np.testing.assert_array_equal(np.sort(audit.suspects(30)), np.arange(30))
    np.testing.assert_array_equal(audit.contradicted()[:30], labels[:30])
    np.testing.assert_array_equal(audit.suggested()[:30], true[:30])


def read_back(path):
    """The rows of the CSV by the rules of its description."""

    def labels(field):
        return [
            re.sub(r"\\(.)", r"\1", part)
            for part in re.findall(r"(?:\\.|[^\\;])+", from_csv_cell(field), re.DOTALL)
        ]

    def soft(field):
        parts = re.findall(r"((?:\\.|[^\\;:])+):([-\d.]+)", from_csv_cell(field), re.DOTALL)
        return [(re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL), float(value)) for name, value in parts]

    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, strict=True):
            yield {
                "id": from_csv_cell(row["id"]), "confidence": float(row["confidence"]), "rank": int(row["rank"]),
                "labels": labels(row["labels"]), "contradicted": soft(row["contradicted"]),
                "suggested": soft(row["suggested"]), "raw": row,
            }  # fmt: skip


def test_csv_holds_every_sample_in_the_order_of_doubt(tmp_path):
    audit = by_hand()
    audit.write_csv(tmp_path / "audit.csv", threshold=1)
    assert (tmp_path / "audit.csv").read_bytes().decode().splitlines()[:2] == [
        "id,confidence,suspicion,labels,contradicted,suggested,rank",
        "b,0.5,1,,,tree:0.8000;sky:0.7500,1",
    ]
    rows = list(read_back(tmp_path / "audit.csv"))
    assert [row["id"] for row in rows] == ["b", "d", "c", "a"]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert rows[2]["contradicted"] == [("sea", 0.12), ("tree", 0.25)]
    audit.write_csv(tmp_path / "audit.csv", by="confidence")
    assert [row["id"] for row in read_back(tmp_path / "audit.csv")] == ["b", "c", "d", "a"]
    assert [path.name for path in tmp_path.iterdir()] == ["audit.csv"]


NASTY = [
    "=1+1",
    "'=1",
    "a;b:c\\",
    '"q",\r\n',
    "-\u00e9\U0001f600",
    "@x",
    "\tt",
    "+1",
    "\uff1dx",
    "'",
    " ",
    HOSTILE,
]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
                min_size=3, max_size=3, unique=True))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_csv_gives_any_text_back(tmp_path_factory, names):
    assert_round_trip(tmp_path_factory.getbasetemp() / "any.csv", names)


@pytest.mark.parametrize("first", range(len(NASTY)))
def test_csv_gives_nasty_text_back_and_runs_nothing(tmp_path, first):
    assert_round_trip(tmp_path / "nasty.csv", [NASTY[(first + step) % len(NASTY)] for step in range(3)])


def assert_round_trip(path, names):
    ids = np.array([*names, "plain"])
    audit = by_hand(ids=ids, label_names=names)
    audit.write_csv(path, threshold=1)
    rows = {row["id"]: row for row in read_back(path)}
    assert sorted(rows) == sorted(ids.tolist())
    for sample in audit.samples(np.arange(4), threshold=1):
        row = rows[sample.id]
        assert row["labels"] == [name for name, _ in sample.given]
        for kind in ("contradicted", "suggested"):
            assert row[kind] == [(name, pytest.approx(soft)) for name, soft in getattr(sample, kind)]
        for column in ("id", "labels", "contradicted", "suggested"):
            assert not row["raw"][column].startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.full((4, 3), 2)}, "labels must hold only 0 and 1"),
        ({"labels": np.zeros((0, 3))}, "labels must not be empty"),
        ({"ids": ["a", "b", "c", "d"]}, r"ids must be a numpy array of text of shape \(4,\); got list"),
        ({"ids": np.arange(4)}, "ids must be .* got int64 of shape"),
        ({"ids": np.array(["a", "b", "a", "c"])}, "ids must name each sample once; 'a' comes twice"),
        ({"ids": np.array(["a", "\ud800", "b", "c"])}, "ids must be text that UTF-8 can hold"),
        ({"confidence": np.ones((4, 1))}, r"confidence must be .* of shape \(4,\); got float64 of shape \(4, 1\)"),
        ({"confidence": np.array([1, np.nan, 1, 1])}, "confidence must be finite; row 1 holds NaN or inf"),
        ({"soft_labels": np.ones((4, 2))}, r"soft_labels must be .* shape \(4, 3\)"),
        ({"soft_labels": np.ones((4, 3), int)}, "soft_labels must be an array of floats"),
        ({"label_names": "abc"}, "label_names must be a tuple or list of text"),
        ({"label_names": ("a", "b", "")}, "label_names must be .* none of it empty"),
        ({"label_names": ("a", "b")}, "label_names must name the 3 columns of labels; got 2"),
        ({"label_names": ("a", "b", "a")}, "label_names must name each label once; 'a' comes twice"),
    ],
)  # fmt: skip
def test_bad_arrays_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        by_hand(**changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda audit: audit.contradicted(0), r"threshold must be a number in \(0, 1\]; got 0"),
        (lambda audit: audit.suggested(True), "threshold must be .* got True"),
        (lambda audit: audit.suspects(0), "limit must be an int of at least 1, or None; got 0"),
        (lambda audit: audit.suspects(by="rank"), "by must be one of 'suspicion', 'confidence'"),
        (lambda audit: audit.score(np.ones((4, 2))), "clean_labels must have 3 classes"),
        (lambda audit: audit.score(np.ones((5, 3))), "clean_labels must have 4 rows, one a sample; got 5"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(by_hand())


def test_an_old_csv_stays_if_the_new_one_cannot_be_written(tmp_path):
    (tmp_path / "audit.csv").write_text("old")
    with pytest.raises(ValueError, match="threshold"):
        by_hand().write_csv(tmp_path / "audit.csv", threshold=2)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("audit.csv", "old")]


def test_the_audit_needs_no_keras():
    code = "import sys, scbch_keras.labels.audit; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def pictures(tmp_path):
    """A picture of each kind that needs care: large, with transparency, with a palette, turned by EXIF."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.effect_noise((900, 600), 80).save(folder / "large.jpg")
    Image.new("RGBA", (40, 20), (255, 0, 0, 0)).save(folder / "clear.png")
    Image.new("P", (16, 16)).save(folder / "palette.gif")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (80, 40)).save(folder / "turned.jpg", exif=turned)
    return tuple(folder / name for name in ("large.jpg", "clear.png", "palette.gif", "turned.jpg"))


def draw(path, audit=None, title="Audit", **more):
    write_audit_page(audit or by_hand(), path / "audit.html", title, **more)
    html = (path / "audit.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.errors == page.open == []
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    # Its own script and what that works on, and no other: the page's policy names the script by its hash.
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "audit-data"},
        {},
    ]
    script = html.rpartition("<script>")[2].partition("</script>")[0]
    allowed = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert policy.endswith(f"script-src {allowed}")
    assert policy.startswith("default-src 'none';")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")]
        assert attrs.get("src", "data:image/").startswith("data:image/")
        assert tag != "img" or "alt" in attrs
    return page, html


def test_page_shows_the_suspects_in_order_with_their_doubts(tmp_path, pictures):
    page, _ = draw(tmp_path, pictures=pictures, texts=("a dog", "", "x" * 5000, "a cat"))
    assert re.findall(r"\d\. [a-d]\b", page.words) == ["1. b", "2. d", "3. c", "4. a"]
    # two doubts, each with its question, and the one that explains
    assert [tag for tag, _ in page.tags].count("del") == 2 * 2 + 1
    assert [tag for tag, _ in page.tags].count("img") == 4 + 1  # and the one that is enlarged
    assert "a cat" in page.words
    assert "x" * 200 in page.words
    assert "x" * 1000 not in page.words


def test_thumbnails_are_small_upright_and_on_white(tmp_path, pictures):
    page, _ = draw(tmp_path, pictures=pictures)
    shown = []
    for tag, attrs in page.tags:
        if tag == "img" and "src" in attrs:
            with Image.open(io.BytesIO(base64.b64decode(attrs["src"].split(",")[1]))) as picture:
                shown.append(picture.convert("RGB"))
    turned, large, palette, clear = shown  # b, d, c, a
    assert turned.size == (40, 80)
    assert large.size == (480, 320)
    assert palette.size == (16, 16)
    assert clear.getpixel((0, 0)) == (255, 255, 255)


def test_page_escapes_what_comes_from_the_data(tmp_path):
    audit = by_hand(ids=np.array([HOSTILE, "b", "c", "d"]), label_names=(HOSTILE, "tree", "sea"))
    page, html = draw(tmp_path, audit, HOSTILE, texts=(HOSTILE,) * 4)
    assert "<script>alert" not in html
    assert page.words.count(HOSTILE) >= 8


def test_page_writes_out_what_turns_the_direction_of_writing(tmp_path, pictures):
    bidi = "a\u202eb\u2066"
    audit = by_hand(ids=np.array([bidi, "b", "c", "d"]), label_names=(bidi, "tree", "sea"))
    _, html = draw(tmp_path, audit, bidi, texts=(bidi,) * 4, pictures=pictures)
    assert not set(html) & set("\u202e\u2066")


@pytest.mark.parametrize("kind", ["eps", "pcx", "tga"])
def test_a_thumbnail_takes_the_formats_of_training_alone(tmp_path, kind):
    Image.new("RGB", (8, 8)).save(tmp_path / f"picture.{kind}")
    with pytest.raises(ValueError, match=f"picture.{kind}: expected a picture"):
        write_audit_page(by_hand(), tmp_path / "a.html", "A", pictures=[tmp_path / f"picture.{kind}"] * 4)


def test_page_has_the_score_where_there_is_one(tmp_path):
    audit = random_audit()
    clean = audit.labels ^ (np.random.default_rng(1).random(audit.labels.shape) < 0.15)
    score = audit.score(clean)
    page, _ = draw(tmp_path, audit, score=score, limit=7)
    for ranking in (score.by_suspicion, score.by_confidence, score.given_labels, score.missing_labels):
        assert f"{ranking.auroc:.3f}" in page.words
        assert f"{ranking.precision:.3f}" in page.words
    hits = int(score.corrupted[audit.suspects(7)].sum())
    assert page.words.count("labels are wrong") >= hits
    assert "no sample is corrupted" in draw(tmp_path, audit, score=audit.score(audit.labels))[0].words
    assert "AUROC" not in draw(tmp_path, audit)[0].words


def test_page_of_probabilities_says_so_and_shows_their_reliability(tmp_path):
    audit = posterior_by_hand()
    page, html = draw(tmp_path, audit, score=audit.score(np.eye(4, 3, dtype="uint8")))
    assert "probably wrong" in page.words
    assert "neighbours contradict" not in page.words
    assert "Probability and truth" in html
    assert "Probability and truth" not in draw(tmp_path, by_hand())[1]


@pytest.mark.parametrize("most", [0.5, np.nextafter(0.5, 1)])
def test_page_can_be_drawn_where_all_confidence_is_as_good_as_equal(tmp_path, most):
    draw(tmp_path, by_hand(confidence=np.array([0.5, most, 0.5, 0.5])))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"texts": ("a",)}, "texts must have one entry a sample, 4; got 1"),
        ({"texts": "abcd"}, "texts must be a sequence of text"),
        ({"pictures": ("a.png",)}, "pictures must have one entry a sample, 4; got 1"),
        ({"pictures": ("nowhere.png",) * 4}, "nowhere.png"),
        ({"pictures": (__file__,) * 4}, "test_audit.py"),
        ({"limit": 0}, "limit must be"),
        ({"score": random_audit().score(random_audit(seed=1).labels)}, "score must be of the same 4 samples"),
    ],
)
def test_a_page_that_cannot_be_drawn_is_refused_and_the_old_one_stays(tmp_path, more, message):
    (tmp_path / "audit.html").write_text("old")
    with pytest.raises(ValueError, match=message):
        write_audit_page(by_hand(), tmp_path / "audit.html", "Audit", **more)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("audit.html", "old")]
