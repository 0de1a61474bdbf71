"""The search page of `scbch demo`: what it answers over HTTP."""

import base64
import io
import socket
import sys

import httpx
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks.service import metric
from scbch_keras.export import CodesFile, HammingIndex, HashEncoder, Source
from scbch_keras.export.service.catalogue import THUMBNAIL, Chance
from scbch_keras.training.cli.main import commands
from tests.export.service.gallery import CAPTIONS, COUNT, HOSTILE, LABELS, running_demo
from tests.export.serving.test_encoder import BITS

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]
for needed in ("onnxruntime", "typer", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(needed)

CLIENT = httpx.Client(timeout=60)


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


def test_results_are_those_of_the_index_with_text_and_labels_of_the_data(demo, gallery_codes, release):
    stored, encoder = CodesFile.open(gallery_codes), HashEncoder(release)
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
def test_a_label_narrows_the_search_and_what_chance_gives(demo, gallery_codes, label):
    stored = CodesFile.open(gallery_codes)
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


def test_an_index_whose_ids_are_paths_needs_no_data(release, encoder, gallery, tmp_path):
    index = HammingIndex(BITS, source=Source.of(encoder))
    names = ["5.png", "3.png", "9.png"]
    index.add(encoder.image([str(gallery / name) for name in names]), names)
    index.save(tmp_path / "index.npz")
    with running_demo(release, "--codes", tmp_path / "index.npz", "--pictures", gallery) as address:
        about = get(address, "/page/about")
        assert (about["count"], about["labels"], about["examples"]) == (3, [], [])
        found = get(address, "/page/like/1")
        assert (found["query"]["id"], found["query"]["caption"]) == ("3.png", None)
        assert {item["id"] for item in found["items"]} == {"5.png", "9.png"}
        assert CLIENT.get(f"{address}/page/pictures/2").headers["content-type"] == "image/png"


def _refused(*arguments):
    done = CliRunner().invoke(commands(), ["demo", *map(str, arguments), "--no-browser"])
    assert done.exit_code == 2
    return " ".join(done.output.split())


def test_data_and_pictures_of_something_else_are_refused(release, encoder, gallery_codes, gallery, tmp_path):
    told = _refused(release, "--codes", gallery_codes, "--pictures", tmp_path)
    assert "has no picture of the codes; of '0.png': there is no file" in told
    assert "--pictures: expected a folder" in _refused(
        release, "--codes", gallery_codes, "--pictures", gallery / "0.png"
    )
    np.savez(
        tmp_path / "other.npz",
        image=np.zeros((2, 3)),
        text=np.zeros((2, 3)),
        labels=np.eye(2),
        ids=["x", "y"],
    )
    told = _refused(release, "--codes", gallery_codes, "--data", tmp_path / "other.npz")
    assert "none of the 40 codes has an id of" in told
    assert "the codes' first is '0.png', the data's 'x'" in told
    HammingIndex(BITS, source=Source.of(encoder)).save(tmp_path / "empty.npz")
    told = _refused(release, "--codes", tmp_path / "empty.npz", "--pictures", gallery)
    assert "expected at least one code to search in, got none" in told


def test_a_port_that_is_taken_is_named(release, gallery_codes, gallery, having_imported):
    # In a process of its own: uvicorn sets up logging, and closes the streams of handlers that were there.
    command = [sys.executable, "-m", "scbch_keras.training.cli.main", "demo", str(release), "--no-browser"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        searched = ["--codes", gallery_codes, "--pictures", gallery, "--port", port]
        done = having_imported("uvicorn", [*command, *map(str, searched)], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"port: expected one that is free at 127.0.0.1, got {port}; name another" in " ".join(
        done.stderr.split()
    )
