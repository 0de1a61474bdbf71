"""The search page of `scbch demo`: what it answers over HTTP, and how it looks and works in a real browser."""

import base64
import contextlib
import csv
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from benchmarks.service import metric
from scbch_keras.export import CodesFile, HashEncoder, encode_file
from scbch_keras.export.service.catalogue import THUMBNAIL, Chance
from scbch_keras.training.pages.audit_page import write_audit_page
from scbch_keras.training.quickstart.report import write_report
from tests.browser import tab
from tests.export.serving.test_encoder import BITS
from tests.labels.test_audit import by_hand
from tests.training.quickstart.test_report import _results

pytestmark = pytest.mark.numpy_only
for needed in ("onnxruntime", "typer", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(needed)

COUNT = 40
HOSTILE = "<img src=x onerror=alert(1)> \u202eevil"
CAPTIONS = [f"a dog on the beach, {row}" if row % 2 else "the dog" for row in range(COUNT - 1)] + [HOSTILE]
LABELS = [
    [name for name, every in (("animal", 2), ("red & <b>", 3), ("sea", 5)) if row % every == 0]
    for row in range(COUNT)
]
CLIENT = httpx.Client(timeout=60)


@contextlib.contextmanager
def running_demo(*arguments):
    """`scbch demo` in its own process, once it answers: its address, and what it prints."""
    command = [sys.executable, "-m", "scbch_keras.training.cli.main", "demo", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "BROWSER": "true"}
    )
    watch = threading.Timer(120, process.kill)
    watch.start()
    try:
        line = process.stdout.readline()
        assert line.startswith("Search page: http://127.0.0.1:"), line
        yield line.split()[2].rstrip("/")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        watch.cancel()
        process.stdout.close()


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A folder of pictures with a table: two large ones, a link to outside, one that is none, one that is missing."""
    folder = tmp_path_factory.mktemp("gallery") / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    secret = folder.parent / "secret.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("id", "picture", "text", "labels"))
        for row in range(COUNT):
            side = 600 if row < 2 else 40
            pixels = rng.integers(0, 256, (2, 3, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((side, side * 3 // 4)).save(folder / f"{row}.png")
            table.writerow((f"p{row}", f"{row}.png", CAPTIONS[row], ";".join(LABELS[row])))
    return folder


@pytest.fixture(scope="module")
def codes(release, gallery, tmp_path_factory):
    path = tmp_path_factory.mktemp("codes") / "pictures.npy"
    names = [f"{row}.png" for row in range(COUNT)]
    encode_file(HashEncoder(release), "image", [([str(gallery / name) for name in names], names)], path)
    return path


@pytest.fixture(scope="module")
def demo(release, codes, gallery):
    with running_demo(release, "--codes", codes, "--data", gallery, "--no-browser") as address:
        # What happens to a folder while it is served.
        for name in ("37.png", "38.png", "39.png"):
            (gallery / name).unlink()
        (gallery / "37.png").symlink_to(gallery.parent / "secret.png")
        (gallery / "38.png").write_text("no picture")
        yield address


def get(demo, path, **parameters):
    answer = CLIENT.get(f"{demo}{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def search(demo, body, **parameters):
    return CLIENT.post(f"{demo}/page/search", json=body, params=parameters)


def test_every_answer_of_the_page_forbids_what_is_from_elsewhere_and_is_small(demo):
    pages = ("/", "/docs", *(f"/static/{name}" for name in (
        "palette.css", "page.css", "search.css", "search.js", "docs.js", "icon.svg",
    )))  # fmt: skip
    size = 0
    for path in (*pages, "/page/about", "/page/items", "/page/pictures/0"):
        answer = CLIENT.get(f"{demo}{path}")
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        size += len(answer.content) * (path in pages)
    assert size < 100_000


def test_results_are_those_of_the_index_with_text_and_labels_of_the_data(demo, codes, release):
    stored, encoder = CodesFile.open(codes), HashEncoder(release)
    ids, distances = stored.index(named=False).search(encoder.text(["dog beach"]), 7)
    found = search(demo, {"texts": ["dog beach"], "k": 7}).json()
    assert [(item["row"], item["distance"]) for item in found["items"]] == list(
        zip(ids[0].tolist(), distances[0].tolist(), strict=True)
    )
    about = get(demo, "/page/about")
    for item in found["items"]:
        row = item["row"]
        assert item["id"] == f"{row}.png"
        assert [about["labels"][label]["name"] for label in item["labels"]] == LABELS[row]
    assert get(demo, "/page/about")["count"] == COUNT
    assert (about["bits"], about["takes_words"], about["takes_pictures"]) == (BITS, True, True)
    assert {label["name"]: label["count"] for label in about["labels"]} == {
        "animal": 20,
        "red & <b>": 14,
        "sea": 8,
    }
    assert found["searched"] == COUNT
    shown = search(demo, {"texts": ["dog"], "k": COUNT}).json()["items"]
    assert {item["caption"] for item in shown} == {*CAPTIONS[:-1], HOSTILE.replace("\u202e", "\\u202e")}


def test_a_picture_finds_itself_and_more_like_an_item_leaves_it_out(demo, gallery):
    content = base64.b64encode((gallery / "7.png").read_bytes()).decode()
    first = search(demo, {"pictures": [content], "k": 1}).json()["items"][0]
    assert first["distance"] == 0
    found = get(demo, "/page/like/7", k=COUNT)
    assert found["query"]["id"] == "7.png"
    assert sorted(item["row"] for item in found["items"]) == [row for row in range(COUNT) if row != 7]


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_label_narrows_the_search_and_what_chance_gives(demo, codes, label):
    stored = CodesFile.open(codes)
    name = get(demo, "/page/about")["labels"][label]["name"]
    rows = [row for row in range(COUNT) if name in LABELS[row]]
    bits = np.unpackbits(stored.codes, axis=1, count=BITS)
    found = get(demo, "/page/like/1", label=label, k=5)
    assert {item["row"] for item in found["items"]} <= set(rows)
    assert found["searched"] == len(rows)
    assert found["chance"] == pytest.approx((bits[rows] != bits[1]).sum(axis=1).mean())
    one = next(one for one in found["labels"] if one["label"] == label)
    assert one["count"] == len(found["items"])
    assert one["expected"] == pytest.approx(len(found["items"]))
    assert [item["row"] for item in get(demo, "/page/items", label=label, k=3)["items"]][::2] == [
        rows[0],
        rows[-1],
    ]


def test_chance_is_the_mean_over_all_codes():
    rng = np.random.default_rng(0)
    bits = (rng.random((20000, 12)) < rng.random(12)).astype(np.uint8)
    packed = np.packbits(bits, axis=1)
    labels = (rng.random((20000, 2)) < 0.3).astype(np.uint8)
    chance = Chance(packed, 12, labels)
    assert chance.distance(packed[5], None) == pytest.approx((bits != bits[5]).sum(axis=1).mean())
    assert chance.label_shares(None) == pytest.approx(labels.mean(axis=0))
    with_label = labels[:, 1] == 1
    assert chance.distance(packed[5], 1) == pytest.approx((bits[with_label] != bits[5]).sum(axis=1).mean())


def test_unknown_words_are_named_and_no_known_word_finds_nothing(demo):
    some = search(demo, {"texts": ["zebra dog"]}).json()
    assert (some["unknown_words"], some["known_words"]) == (["zebra"], 1)
    assert some["items"]
    none = search(demo, {"texts": ["zebra"]}).json()
    assert (none["unknown_words"], none["known_words"], none["items"]) == (["zebra"], 0, [])


def test_pictures_are_thumbnails_from_within_the_folder_alone(demo):
    with Image.open(io.BytesIO(CLIENT.get(f"{demo}/page/pictures/0").content)) as picture:
        assert max(picture.size) == THUMBNAIL
    for row, message in (
        *((37, "there is no file"), (38, "expected a picture"), (39, "there is no file")),
        *((40, "no item 40"), (-1, "no item -1")),
    ):  # fmt: skip
        answer = CLIENT.get(f"{demo}/page/pictures/{row}")
        assert answer.status_code == 404
        assert message in answer.json()["detail"]
    for path in (
        "../secret.png",
        "..%2fsecret.png",
        "%2e%2e/secret.png",
        "0/../../secret.png",
        "0.png",
        "table.csv",
    ):
        assert CLIENT.get(f"{demo}/page/pictures/{path}").status_code in (404, 422)


@pytest.mark.parametrize(
    ("body", "parameters", "status", "message"),
    [
        ({"texts": ["a", "dog"]}, {}, 422, "expected one query, got 2"),
        ({"texts": ["a"]}, {"label": 3}, 404, "no label 3"),
        ({"texts": ["a"]}, {"label": -1}, 404, "no label -1"),
        ({"texts": ["a"], "k": 0}, {}, 422, "k: expected an int from 1"),
        ({"pictures": [base64.b64encode(b"none").decode()]}, {}, 422, "expected a picture"),
        ({"texts": ["x" * 70_000]}, {}, 422, "at most 65536 characters"),
        ({"texts": ["x" * 9_000_000]}, {}, 413, "max_body"),
    ],
)  # fmt: skip
def test_the_limits_of_the_service_hold(demo, body, parameters, status, message):
    answer = search(demo, body, **parameters)
    assert answer.status_code == status
    assert message in answer.json()["detail"]


def test_other_sites_cannot_ask_and_answers_are_counted(demo):
    assert CLIENT.get(f"{demo}/", headers={"Host": "evil.example"}).status_code == 400
    assert CLIENT.get(f"{demo}/", headers={"Host": "localhost:1"}).status_code == 200
    form = CLIENT.post(
        f"{demo}/page/search", content='{"texts": ["a"]}', headers={"Content-Type": "text/plain"}
    )
    assert form.status_code == 415
    metrics = CLIENT.get(f"{demo}/metrics").text
    assert metric(metrics, 'scbch_requests_total{path="/page/search",status="415"}') >= 1


def test_the_interface_has_a_page_of_its_own(demo):
    assert CLIENT.get(f"{demo}/docs").status_code == 200
    assert CLIENT.get(f"{demo}/redoc").status_code == 404
    paths = CLIENT.get(f"{demo}/openapi.json").json()["paths"]
    assert {"/encode", "/search"} <= paths.keys()
    assert not [path for path in paths if path.startswith("/page")]


def _refused(*arguments):
    command = [
        sys.executable,
        "-m",
        "scbch_keras.training.cli.main",
        "demo",
        *map(str, arguments),
        "--no-browser",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_data_and_pictures_of_something_else_are_refused(release, codes, gallery, tmp_path):
    told = _refused(release, "--codes", codes, "--pictures", tmp_path)
    assert "has no picture of the codes; of '0.png': there is no file" in told
    assert "--pictures: expected a folder" in _refused(
        release, "--codes", codes, "--pictures", gallery / "0.png"
    )
    np.savez(
        tmp_path / "other.npz",
        image=np.zeros((2, 3)),
        text=np.zeros((2, 3)),
        labels=np.eye(2),
        ids=["x", "y"],
    )
    told = _refused(release, "--codes", codes, "--data", tmp_path / "other.npz")
    assert "none of the 40 codes has an id of" in told
    assert "the codes' first is '0.png', the data's 'x'" in told


def _shown(browser, count):
    browser.wait(
        f"document.querySelectorAll('.card').length === {count} && !document.querySelector('.waiting')"
    )


def test_in_a_real_browser(demo, gallery, tmp_path):
    write_report(_results(), tmp_path / "report.html")
    write_audit_page(by_hand(), tmp_path / "audit.html", "pets")
    shots = Path(os.environ.get("SCBCH_SCREENSHOTS", tmp_path))
    with tab() as browser:
        browser.look(1280, 900, dark=False)
        browser.open(f"{demo}/")
        _shown(browser, 24)
        assert "40 pictures, a code of 12 bits each" in browser.text()

        # Words by keyboard: "/" goes there, the arrows walk through the results, Enter finds more like one.
        browser.evaluate("document.activeElement.blur()")
        browser.press("/")
        browser.type("zebra dog")
        browser.press("Enter")
        browser.wait(
            "document.getElementById('status').textContent.startsWith('The 24 nearest of 40 pictures')"
        )
        assert "“zebra” is not a word of this release and was left out." in browser.text()
        assert "the Hamming distance, in how many of their 12 bits two codes differ" in browser.text()
        browser.wait("[...document.images].some((image) => image.complete && image.naturalWidth > 0)")
        assert browser.evaluate("document.querySelectorAll('.card img').length") > 10
        assert not browser.axe()
        browser.screenshot(shots / "words.png")
        browser.press("ArrowDown")
        browser.press("ArrowRight")
        browser.press("ArrowRight")
        browser.press("ArrowLeft")
        assert (
            browser.evaluate("[...document.querySelectorAll('.like')].indexOf(document.activeElement)") == 1
        )
        browser.press("Enter")
        browser.wait("document.getElementById('query').textContent.startsWith('More like')")
        browser.evaluate("history.back()")
        browser.wait("document.getElementById('words').value === 'zebra dog'")
        _shown(browser, 24)

        # The filter, and showing more.
        browser.evaluate(
            "(() => { const label = document.getElementById('label'); label.value = '2';"
            " label.dispatchEvent(new Event('change')); })()"
        )
        _shown(browser, 8)
        assert "The 8 nearest of 8 pictures with the label sea" in browser.text()
        browser.evaluate(
            "document.getElementById('label').value = ''; document.getElementById('form').requestSubmit()"
        )
        _shown(browser, 24)
        browser.evaluate("document.getElementById('more').click()")
        _shown(browser, 40)
        assert HOSTILE.replace("\u202e", "\\u202e") in browser.text()

        # Only unknown words.
        browser.evaluate(
            "document.getElementById('words').value = ''; document.getElementById('words').focus()"
        )
        browser.type("zebra")
        browser.press("Enter")
        _shown(browser, 0)
        assert (
            "“zebra” is not a word of this release: there is nothing to search for. Try other words"
            in browser.text()
        )
        assert not browser.axe()

        # A picture dropped, pasted, and something that is none.
        browser.drop(gallery / "7.png")
        browser.wait("document.getElementById('query').textContent.includes('Your picture, 7.png')")
        _shown(browser, 24)
        assert "distance 0 of 12 bits" in browser.text()
        assert "a dog on the beach, 7" in browser.text()
        assert "by chance" in browser.text()
        assert not browser.axe()
        browser.drop(gallery / "table.csv")
        browser.wait("!document.getElementById('notice').hidden")
        assert "That is no picture file. Drop a picture" in browser.text()
        browser.drop(gallery / "38.png")
        browser.wait("document.getElementById('notice').textContent.includes('Take another picture')")

        # The other looks: what is seen is dark where it should be, and nothing is wider than a phone.
        browser.look(390, 844, dark=True)
        browser.open(f"{demo}/?q=dog")
        _shown(browser, 24)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        assert not browser.axe()
        corner = (
            Image.open(io.BytesIO(browser.screenshot(shots / "phone-dark.png"))).convert("L").getpixel((3, 3))
        )
        assert corner < 60
        outside = [at for at in browser.requests if not at.startswith((f"{demo}/", "blob:", "data:"))]
        assert outside in ([], ["about:blank"])
        refusals = [fault for fault in browser.faults if "status of 4" not in str(fault)]
        assert not refusals

        browser.open(f"{demo}/docs")
        browser.wait("document.body.innerText.includes('POST /search')")
        assert not browser.axe()
        for page in ("report", "audit"):
            browser.open(f"file://{tmp_path / page}.html")
            assert not browser.axe(), page
            browser.look(1280, 900, dark=False)
            assert not browser.axe(), page
            browser.look(390, 844, dark=True)
        assert not [
            fault for fault in browser.faults if fault not in refusals and "status of 4" not in str(fault)
        ]
