"""Decisions on the audit page, made by keyboard in a real browser; the file that it saves goes through `scbch fix`."""

import csv
import io
import re
import shutil

import numpy as np
import pytest

from scbch_keras.labels.audit import PosteriorAudit
from scbch_keras.safe_text import csv_cell
from scbch_keras.training.data.own import read_own
from scbch_keras.training.data.own.fixing import fix
from scbch_keras.training.pages.audit_page import write_audit_page
from tests.servers import axe, page_result

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]

NAMES = ("=cmd|'/c calc'!A0", "a;b:c\\d", "<img src=x onerror=alert(1)>", "turned\u202eround", "sea")
IDS = (
    "=1+1",
    "s;\\:",
    'line\nbreak, "q"',
    "'apostrophe",
    "e\u0301 </script><script>alert(1)</script>",
    "plain",
)
GIVEN = np.array(
    [[1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 1]],
    "uint8",
)
# Row 0: the first label is wrong and the second missing; 1: the third is missing; 2: the first is wrong; 3: both.
DRIVE = """<!doctype html><iframe id="f" src="audit.html" width="%d" height="900"></iframe><script>
const post = (value) => fetch("/", { method: "POST", body: JSON.stringify(value) });
const frame = document.getElementById("f");
const loaded = () => new Promise((done) => frame.addEventListener("load", done, { once: true }));
const run = async () => {
  await loaded();
  const page = () => frame.contentDocument;
  const key = (name) => (page().activeElement ?? page().body).dispatchEvent(
    new frame.contentWindow.KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  const state = () => [...page().querySelectorAll("#doubts fieldset")].map(
    (field) => field.querySelector("input:checked")?.value ?? "");
  const blobs = [];
  const watch = () => { frame.contentWindow.URL.createObjectURL = (blob) => { blobs.push(blob); return "#"; }; };
  watch();
  const result = { steps: [] };
  const press = (names) => { for (const name of names) key(name); result.steps.push(state().join(",")); };
  %s
  result.saved = blobs.length ? await blobs.at(-1).text() : null;
  result.status = page().getElementById("status").textContent;
  await post(result);
};
run().catch((error) => post({ error: String(error.stack) }));
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data with hostile text in it, and the page of its audit."""
    folder = tmp_path_factory.mktemp("decisions")
    probabilities = GIVEN.astype("float32") * 0.9 + 0.02
    probabilities[0, :2] = 0.01, 0.99
    probabilities[1, 2], probabilities[2, 0] = 0.97, 0.05
    probabilities[3, 3:] = 0.2
    audit = PosteriorAudit(
        np.array(IDS), np.linspace(0.2, 0.8, 6), GIVEN, probabilities, NAMES, probabilities=probabilities
    )
    write_audit_page(audit, folder / "audit.html", "hostile", texts=IDS)
    rng = np.random.default_rng(0)
    np.savez(
        folder / "data.npz", image=rng.random((6, 3)), text=rng.random((6, 3)), labels=GIVEN,
        ids=np.array(IDS), label_names=np.array(NAMES), beside=np.arange(3),
    )  # fmt: skip
    return folder


def driven(folder, steps, width=1100):
    (folder / "drive.html").write_text(DRIVE % (width, steps), encoding="utf-8")
    result = page_result(folder, "drive.html")
    assert "error" not in result, result
    return result


def test_doubts_are_decided_by_keyboard_and_the_file_corrects_the_data(folder, tmp_path):
    # The order is that of expected errors: rows 0, 3, 1 and 2, then 4 and 5, which have no doubt.
    result = driven(
        folder,
        """
        key("s"); result.unsaid = page().getElementById("status").textContent; page().activeElement.blur();
        press("aa");                                        // row 0: both doubts are right
        press("k"); press("u"); press("a");                 // row 3: kept, undone, its other doubt accepted
        press("pk");                                        // back, and kept after all
        key("e");                                           // row 1: all labels are edited
        const boxes = [...page().querySelectorAll("#edit-labels input")];
        boxes.find((box) => box.dataset.name === "sea").click();
        page().getElementById("edit-use").click();
        result.steps.push(state().join(","));
        page().getElementById("who").value = "=Ann";
        key("s");
        """,
    )
    assert "Say who decided" in result["unsaid"]
    assert "scbch fix" in result["status"]
    lines = list(csv.DictReader(io.StringIO(result["saved"], newline="")))
    assert [line["decision"] for line in lines].count("accept") >= 2
    assert {line["who"] for line in lines} == {"'=Ann"}
    assert {line["id"] for line in lines} <= set(map(csv_cell, IDS))
    (tmp_path / "corrections.csv").write_bytes(result["saved"].encode())
    before = (folder / "data.npz").read_bytes()
    fixed = fix(folder / "data.npz", tmp_path / "corrections.csv", tmp_path / "new")
    assert (folder / "data.npz").read_bytes() == before
    assert fixed.reviewed == len({line["id"] for line in lines})
    labels = read_own(tmp_path / "new").labels
    np.testing.assert_array_equal(labels[0], [0, 1, 0, 0, 1])
    np.testing.assert_array_equal(labels[1], [0, 1, 0, 0, 1])
    np.testing.assert_array_equal(labels[2:], GIVEN[2:])
    assert result["steps"][:5] == [
        "accept,accept,,,,,,",
        "accept,accept,keep,,,,,",
        "accept,accept,,,,,,",
        "accept,accept,,accept,,,,",
        "accept,accept,,keep,,,,",
    ]


def test_decisions_outlive_the_page(folder):
    result = driven(
        folder,
        """
        frame.contentWindow.localStorage.clear(); frame.contentWindow.location.reload(); await loaded();
        press("ak"); const again = loaded(); frame.contentWindow.location.reload(); await again; watch();
        result.steps.push(state().join(","));
        """,
    )
    assert result["steps"][0] == result["steps"][1]
    assert result["steps"][1].startswith("accept,keep")


def test_filters_and_order_leave_what_was_asked_for(folder):
    result = driven(
        folder,
        """
        const choose = (id, value) => { const one = page().getElementById(id); one.value = value;
          one.dispatchEvent(new frame.contentWindow.Event("change")); };
        const shown = () => [...page().querySelectorAll("#doubts > li")].filter((card) => card.offsetParent)
          .flatMap((card) => [...card.querySelectorAll("fieldset")].filter((field) => field.offsetParent).length);
        frame.contentWindow.localStorage.clear(); frame.contentWindow.location.reload(); await loaded();
        result.all = shown(); choose("kind", "missing"); result.missing = shown();
        choose("label", "2"); result.third = shown(); choose("label", ""); choose("kind", "");
        press("a"); choose("state", "undecided"); result.undecided = shown(); choose("state", "");
        choose("order", "id"); const heads = [...page().querySelectorAll("#doubts h3")];
        result.order = heads.map((one) => one.textContent[0]);
        """,
    )
    assert result["all"] == [2, 2, 1, 1, 1, 1]
    assert result["missing"] == [1, 1]
    assert result["third"] == [1]
    assert sum(result["undecided"]) == 7
    assert sorted(result["order"]) == list("123456") != result["order"]


@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (390, "dark")])
@pytest.mark.slow
def test_nothing_keeps_people_from_using_the_page(folder, tmp_path, width, scheme):
    shutil.copy(axe(), tmp_path / "axe.js")
    page = (folder / "audit.html").read_text(encoding="utf-8")
    page = re.sub(r"<meta http-equiv.*?>", "", page).replace(
        "</body>", '<script src="axe.js"></script></body>'
    )
    if scheme == "dark":
        page = page.replace("@media (prefers-color-scheme: dark)", "@media all")
    (tmp_path / "audit.html").write_text(page, encoding="utf-8")
    result = driven(
        tmp_path,
        """
        const look = async () => (await frame.contentWindow.axe.run()).violations.map(
          (one) => `${one.id}: ${one.nodes.map((node) => node.html).slice(0, 3)}`);
        key("a"); page().querySelector("details").open = true;
        result.page = await look(); key("e"); result.dialog = await look();
        result.wide = page().documentElement.scrollWidth;
        """,
        width,
    )
    assert result["page"] == result["dialog"] == []
    assert result["wide"] <= width
