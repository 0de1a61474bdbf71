"""Codes into a store and searched there: `scbch index`, `scbch search URL`, `scbch serve --codes URL`."""

import json
from itertools import count

import numpy as np
import pytest

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]

pytest.importorskip("onnx")
for needed in ("onnxruntime", "typer", "fastapi", "httpx", "prometheus_client"):
    pytest.importorskip(needed)

from fastapi.testclient import TestClient  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from scbch_keras.export import HammingIndex, HashEncoder, Source, encode_file  # noqa: E402
from scbch_keras.export.service.application import application  # noqa: E402
from scbch_keras.export.service.catalogue import Catalogue  # noqa: E402
from scbch_keras.training.cli.main import commands  # noqa: E402
from tests.export.serving.test_codes_file import IDS, ROWS, write_release  # noqa: E402
from tests.export.serving.test_encoder import SHAPES  # noqa: E402

_NUMBERS = count()


@pytest.fixture
def run():
    def run(*arguments, status=0):
        done = CliRunner().invoke(commands(), [str(argument) for argument in arguments])
        assert done.exit_code == status, done.output
        return done.output

    return run


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases") / "icons"
    write_release(folder / "2", b"another model")
    return write_release(folder / "1", b"a model")


@pytest.fixture(scope="module")
def encoder(release):
    return HashEncoder(release)


@pytest.fixture(scope="module")
def codes(encoder, tmp_path_factory):
    """Paths of codes with ids, and without, of the same rows."""
    folder = tmp_path_factory.mktemp("codes")
    shape = [size or 3 for size in SHAPES["image"]]
    rows = np.random.default_rng(0).standard_normal((ROWS, *shape[1:])).astype(np.float32)
    encode_file(encoder, "image", [(rows, IDS)], folder / "named.npy")
    encode_file(encoder, "image", [(rows, None)], folder / "c.npy")
    return folder


@pytest.fixture
def url(postgres):
    return f"{postgres.url}#cli_{next(_NUMBERS)}"


@pytest.mark.parametrize("name", ["named.npy", "c.npy"])
def test_a_store_gives_what_the_file_gives(run, release, codes, url, tmp_path, name):
    path = codes / name
    server, _, table = url.partition("#")
    output = run("index", release, path, "--to", server, "--table", table, "--batch-size", 7, "--approximate")
    assert f"{ROWS} codes of" in output
    query = ("--release", release, "--k", ROWS, "--out", tmp_path / "r.json")
    assert "hunter2" not in output + run("search", url, "a dog", *query)
    actual = json.loads((tmp_path / "r.json").read_text())
    run("search", path, "a dog", *query)
    expected = json.loads((tmp_path / "r.json").read_text())
    if name == "named.npy":  # ties come in the order of ids, in a file in that of its rows
        expected.sort(key=lambda result: (result["distance"], result["id"]))
    assert [(result["id"], result["distance"]) for result in actual] == [
        (result["id"], result["distance"]) for result in expected
    ]
    assert "is in use" in run("index", release, path, "--to", url, status=2)


def test_an_index_file_goes_into_a_store_as_it_is(run, release, encoder, codes, url, tmp_path):
    index = HammingIndex(encoder.bits, source=Source.of(encoder))
    index.add(np.load(codes / "c.npy"), range(100, 100 + ROWS))
    index.save(tmp_path / "i.npz")
    run("index", release, tmp_path / "i.npz", "--to", url)
    assert "id 100 is in use" in run("index", release, tmp_path / "i.npz", "--to", url, status=2)
    with HammingIndex.connect(url) as stored:
        for mine, other in zip(stored.search(index.codes, 9), index.search(index.codes, 9), strict=True):
            np.testing.assert_array_equal(mine, other)


def test_codes_of_another_model_are_refused(run, release, codes, url):
    other = release.parent / "2"
    assert "codes of two models" in run("index", other, codes / "c.npy", "--to", url, status=2)
    run("index", release, codes / "c.npy", "--to", url)
    assert "codes of two models" in run("search", url, "a dog", "--release", other, status=2)
    with pytest.raises(ValueError, match="codes of two models") as raised:
        application(other, url)
    assert "hunter2" not in str(raised.value)


def test_a_table_of_somebody_elses_is_refused_and_stays(run, release, codes, postgres):
    postgres.run("CREATE TABLE people (id bigint, code bit(8)); INSERT INTO people VALUES (1, B'00000000')")
    url = f"{postgres.url}#people"
    for command in (
        ("index", release, codes / "c.npy", "--to", url),
        ("search", url, "a dog", "--release", release),
    ):
        output = run(*command, status=2)
        assert "no description by scbch_keras" in output
        assert "hunter2" not in output
    assert postgres.run("SELECT id FROM people") == [(1,)]


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("postgresql://u:hunter2@127.0.0.1:1/d", ("--table", "t"), "refused"),
        ("postgresql://u:hunter2@127.0.0.1:1/d", (), "table must be named once"),
        ("postgresql://u:hunter2@127.0.0.1:1/d", ("--table", "t;drop"), "plain name"),
        ("redis://u:hunter2@127.0.0.1:1/d", ("--table", "t"), "url must begin with one of"),
        ("somewhere", ("--table", "t"), "url must be"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_message(run, release, codes, to, options, message):
    output = run("index", release, codes / "c.npy", "--to", to, *options, status=2)
    assert message in output
    assert "hunter2" not in output
    assert "Traceback" not in output


def test_the_service_searches_in_a_store(release, encoder, codes, url):
    index = HammingIndex(encoder.bits)
    index.add(np.load(codes / "c.npy"))
    with HammingIndex.connect(url, bits=encoder.bits, source=Source.of(encoder)) as stored:
        stored.add(index.codes, index.ids)
    with TestClient(application(release, url)) as client:
        assert client.get("/readyz").json()["indexed"] == ROWS
        body = {"texts": ["a dog"], "k": 9}
        expected = index.search(encoder.text(["a dog"]), 9)
        actual = client.post("/search", json=body).json()["results"][0]
        assert [result["id"] for result in actual] == expected[0][0].tolist()
        assert [result["distance"] for result in actual] == expected[1][0].tolist()
        with HammingIndex.connect(url) as stored:
            stored.remove(index.ids)
        assert client.post("/search", json=body).json()["results"] == [[]]


def test_the_service_says_that_the_store_is_gone_but_not_where_it_was(release, encoder, url, postgres):
    with HammingIndex.connect(url, bits=encoder.bits, source=Source.of(encoder)) as stored:
        stored.add(np.zeros((1, -(-encoder.bits // 8)), np.uint8), [0])
    with TestClient(application(release, url)) as client:
        postgres.run(f"DROP TABLE {url.partition('#')[2]}")
        response = client.post("/search", json={"texts": ["a dog"]})
        assert response.status_code == 503
        assert response.json() == {"detail": "the store of the codes does not answer"}
        assert client.post("/encode", json={"texts": ["a dog"]}).status_code == 200


def test_the_search_page_works_on_a_store_and_says_what_it_cannot(release, encoder, codes, url):
    index = HammingIndex(encoder.bits)
    packed = np.load(codes / "c.npy")
    index.add(packed, IDS)
    with HammingIndex.connect(url, bits=encoder.bits, source=Source.of(encoder)) as stored:
        stored.add(packed, IDS)
    known = [*IDS[:4], "not in the store"]
    labels = np.array([[1], [0], [1], [0]], np.uint8)

    def catalogue(names):
        assert list(names) == list(IDS[:4])
        return Catalogue(names, [f"text of {name}" for name in names], labels, ("first",))

    app = application(release, url, catalogue=catalogue, candidates=known)
    with TestClient(app, base_url="http://localhost") as client:
        about = client.get("/page/about").json()
        assert about["count"] == ROWS
        assert "in a store" in about["cannot"][0]
        assert [item["id"] for item in client.get("/page/items").json()["items"]] == list(IDS[:4])
        found = client.post("/page/search", json={"texts": ["a dog"], "k": 9}).json()
        expected = index.search(encoder.text(["a dog"]), ROWS)
        by_id = dict(zip(expected[0][0].tolist(), expected[1][0].tolist(), strict=True))
        assert [item["distance"] for item in found["items"]] == expected[1][0][:9].tolist()
        for item in found["items"]:
            assert by_id[item["id"]] == item["distance"]
            caption = f"text of {item['id']}" if item["id"] in IDS[:4] else None
            assert item["caption"] == caption
        assert "chance" not in found
        narrowed = client.post("/page/search", params={"label": 0}, json={"texts": ["a dog"], "k": 9}).json()
        assert {item["id"] for item in narrowed["items"]} == {IDS[0], IDS[2]}
        assert narrowed["searched"] == 2
        refused = client.get("/page/like/0")
        assert refused.status_code == 404
        assert "does not give its codes back" in refused.json()["detail"]


@pytest.mark.parametrize("known", [[], ["3", "99", "x"]])
def test_the_search_page_takes_integers_as_ids_and_needs_no_data(release, encoder, codes, url, known):
    with HammingIndex.connect(url, bits=encoder.bits, source=Source.of(encoder)) as stored:
        stored.add(np.load(codes / "c.npy"), range(ROWS))
    app = application(release, url, catalogue=Catalogue, candidates=known)
    with TestClient(app, base_url="http://localhost") as client:
        listed = [item["id"] for item in client.get("/page/items").json()["items"]]
        assert listed == (["3"] if known else [])
        found = client.post("/page/search", json={"texts": ["a dog"], "k": ROWS}).json()
        assert {item["id"] for item in found["items"]} == set(map(str, range(ROWS)))
        assert {item["row"] for item in found["items"]} == ({0, None} if known else {None})


def test_an_empty_store_has_no_search_page(release, encoder, url):
    with HammingIndex.connect(url, bits=encoder.bits, source=Source.of(encoder)) as stored:
        stored.add(np.zeros((1, -(-encoder.bits // 8)), np.uint8), [0])
        stored.remove([0])
    with pytest.raises(ValueError, match="at least one code to search in"):
        application(release, url, catalogue=Catalogue)
