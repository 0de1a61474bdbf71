"""Files in, packed codes out; search in them; the service over real HTTP. No keras, no tensorflow."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.numpy_only

onnx = pytest.importorskip("onnx")
h5py = pytest.importorskip("h5py")
httpx = pytest.importorskip("httpx")
for needed in ("onnxruntime", "typer", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(needed)

from typer.testing import CliRunner  # noqa: E402

from benchmarks.service import running_service  # noqa: E402
from scbch_keras.export import (  # noqa: E402
    CodesFile,
    HammingIndex,
    HashEncoder,
    Source,
    encode_file,
    open_index,
)
from scbch_keras.export.format import manifest as manifests  # noqa: E402
from scbch_keras.training.cli import serving as commands_serving  # noqa: E402
from scbch_keras.training.data.own.stream import open_inputs  # noqa: E402
from tests.export.serving.test_encoder import BITS, PIPELINE, SHAPES, encoder_graph  # noqa: E402

CLIENT = httpx.Client(timeout=120)
DOCS = Path(__file__).parents[3] / "docs" / "serving.md"
ROWS = 50
TEXTS = ["a dog", "", "DOG  dog\u3000Straße", "on the beach", "[red] unknown", "the, \u2028 dog"]
IDS = [f"é {row}" for row in range(ROWS)]


def write_release(version, model):
    """A release that takes strings, around hand-written encoders; `model` makes it another one."""
    version.mkdir(parents=True)
    for name in SHAPES:
        onnx.save(encoder_graph(name), version / f"{name}.onnx")
    PIPELINE.save(version / manifests.TEXT_PIPELINE)
    (version / manifests.MODEL).write_bytes(model)
    encoders = {name: {"onnx": {"path": f"{name}.onnx"}} for name in SHAPES}
    content = {
        "schema": manifests.SCHEMA,
        "version": int(version.name),
        "bits": BITS,
        "formats": ["onnx"],
        "signatures": {
            f"encode_{key}": manifests.signature(key, shape, BITS) for key, shape in SHAPES.items()
        },
        "encoders": {**encoders, manifests.RAW_TEXT: {"pipeline": {"path": manifests.TEXT_PIPELINE}}},
        "files": manifests.describe_files(version),
    }
    manifests.write(version, content)
    return version


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases") / "icons"
    (folder / "latest").parent.mkdir()
    write_release(folder / "2", b"another model")
    (folder / "latest").symlink_to("1")
    return write_release(folder / "1", b"a model")


@pytest.fixture(scope="module")
def encoder(release):
    return HashEncoder(release)


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).standard_normal((ROWS, *SHAPES["image"][1:])).astype(np.float32)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`scbch` with these arguments in an empty folder; its output and exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments, status=0):
        done = CliRunner().invoke(commands_serving.app, [str(argument) for argument in arguments])
        assert done.exit_code == status, done.output
        return done.output

    return invoke


def write_features(path, features):
    if path.suffix == ".npy":
        np.save(path, features)
    elif path.suffix == ".npz":
        save = np.savez if "plain" in path.stem else np.savez_compressed
        save(path, image=features, ids=np.array(IDS), labels=np.eye(3))
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=features, chunks=(min(len(features), 999), *features.shape[1:]))
            file["ids"] = IDS
    return path


@pytest.mark.parametrize("name", ["f.npy", "plain.npz", "f.npz", "f.h5"])
@pytest.mark.parametrize("batch_size", [7, 1024])
def test_features_in_a_file_become_the_codes_of_the_batch_path(
    run, release, encoder, features, tmp_path, name, batch_size
):
    path = write_features(tmp_path / name, features)
    arguments = ("--modality", "image", "--batch-size", batch_size, "--out", "c.npy")
    assert f"{ROWS} codes of {BITS} bits" in run("encode", release, path, *arguments)
    codes = CodesFile.open("c.npy")
    np.testing.assert_array_equal(np.load("c.npy"), encoder.image(features), strict=True)
    assert codes.source == Source.of(encoder)
    assert (codes.source.name, codes.source.version, codes.bits) == ("icons", 1, BITS)
    assert codes.ids == (None if name.endswith("npy") else IDS)
    beside = {"c.npy", "c.npy.json", *([] if codes.ids is None else ["c.npy.ids.txt"])}
    assert {file.name for file in tmp_path.iterdir()} == {path.name, *beside}


def test_texts_are_read_line_by_line_and_none_is_dropped(run, release, encoder, tmp_path):
    rows = [{"id": f"t{row}", "text": text, "more": '"'} for row, text in enumerate(TEXTS)]
    Path("t.txt").write_bytes("\n".join(TEXTS).encode())
    Path("t.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    with open("t.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "text", "more"])
        writer.writeheader()
        writer.writerows(rows)
    for name in ("t.txt", "t.csv", "t.jsonl"):
        run("encode", release, name, "--batch-size", 4, "--out", f"{name}.npy")
        codes = CodesFile.open(f"{name}.npy")
        np.testing.assert_array_equal(codes.codes, encoder.text(TEXTS))
        assert codes.ids == (None if name == "t.txt" else [row["id"] for row in rows])
    told = run("encode", release, "t.txt", "--batch-size", 1, "--out", "again.npy")
    assert (
        "Warning: the model knows no word of 2 of 6 texts, whose codes say nothing of them; rows from 0: 1, 4"
        in told
    )
    Path("known.txt").write_text("A dog!\nthe beach")
    assert "Warning" not in run("encode", release, "known.txt", "--out", "known.npy")
    np.save("features.npy", encoder.text(TEXTS, packed=False)[:, :6])
    assert "Warning" not in run("encode", release, "features.npy", "--modality", "text", "--out", "f.npy")


def test_an_input_without_rows_gives_no_codes(run, release, tmp_path):
    Path("t.txt").write_text("")
    run("encode", release, "t.txt", "--out", "c.npy")
    assert CodesFile.open("c.npy").codes.shape == (0, 2)
    assert json.loads(_search_json(run, release, "c.npy", "a dog")) == []


def test_pictures_are_listed_by_folder_or_file_as_paths_for_the_encoder(tmp_path):
    (tmp_path / "p" / "sub").mkdir(parents=True)
    for name in ("b.JPG", "sub/a.png", "notes.md"):
        (tmp_path / "p" / name).write_bytes(b"")
    listed = open_inputs(tmp_path / "p", None, None, 10)
    assert (listed.modality, listed.rows) == ("image", 2)
    assert list(listed.blocks) == [
        ([f"{tmp_path}/p/b.JPG", f"{tmp_path}/p/sub/a.png"], ["b.JPG", "sub/a.png"])
    ]
    (tmp_path / "list.txt").write_text("p/b.JPG\np/sub/a.png\n")
    (tmp_path / "list.csv").write_text("picture,id\np/b.JPG,7\np/sub/a.png,8\n")
    for name, ids in (("list.txt", ["p/b.JPG", "p/sub/a.png"]), ("list.csv", ["7", "8"])):
        [(paths, came)] = open_inputs(tmp_path / name, "image", None, 10).blocks
        assert (paths, came) == ([f"{tmp_path}/p/b.JPG", f"{tmp_path}/p/sub/a.png"], ids)


@pytest.mark.parametrize("name", ["f.npy", "plain.npz", "f.npz", "f.h5"])
def test_only_a_block_of_a_large_file_is_in_memory(encoder, tmp_path, name, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "IDS", ["x"] * 100_000)
    path = write_features(tmp_path / name, np.zeros((100_000, 4, 3, 1), np.float32))
    ids_bytes = 0 if name == "f.npy" else 100_000 * 100
    tracemalloc.start()
    rows = sum(len(block) for block, _ in open_inputs(path, "image", None, 10_000).blocks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 100_000
    assert peak < 2_500_000 + ids_bytes


def spoil(features):
    features = features.copy()
    features[31, 2] = np.nan
    return features


FAULTS = {
    "nan.npy": ("from row 28 on .its row 0.: image features must be finite; row 3", ["--modality", "image"]),
    "wide.npy": (r"must have shape \(n, 4, 3, 1\)", ["--modality", "image"]),
    "objects.npy": ("objects.npy: expected an array", ["--modality", "image"]),
    "which.npy": ("say with the modality", []),
    "other.npz": ("there is none; there are image, ids, labels", ["--modality", "image", "--key", "x"]),
    "cut.npz": ("cannot be read", ["--modality", "image"]),
    "ids.npz": ("ids: expected one for each of the 50 rows", ["--modality", "image"]),
    "columns.npz": ("column by column", ["--modality", "image"]),
    "latin.txt": ("line 2: byte 0xe9 is not UTF-8", []),
    "cells.csv": ("row 2 .line 3.: expected 2 cells, .*got 3", []),
    "column.csv": ("the column 'title' is missing; found: id, text", ["--key", "title"]),
    "number.jsonl": ("row 2 .line 2.: text: expected a string, got 7", []),
    "some.jsonl": ("id: expected a string or an integer in all rows or none", []),
    "break.jsonl": ("must not hold line breaks", []),
    "none": ("none: no such file", []),
    "p": ("expected pictures", []),
    "f.xyz": ("expected a folder or one of .npy", []),
}


def write_faults(features):
    np.save("nan.npy", spoil(features))
    np.save("wide.npy", np.zeros((3, 5), np.float32))
    np.save("objects.npy", np.array([{}], object), allow_pickle=True)
    np.save("which.npy", features)
    write_features(Path("other.npz"), features)
    Path("cut.npz").write_bytes(Path("other.npz").read_bytes()[:-100])
    np.savez("ids.npz", image=features, ids=np.array(["a"]))
    np.savez("columns.npz", image=np.asfortranarray(features))
    Path("latin.txt").write_bytes(b"fine\ncaf\xe9\n")
    Path("cells.csv").write_text("id,text\n1,a\n2,b,c\n")
    Path("column.csv").write_text("id,text\n1,a\n")
    Path("number.jsonl").write_text('{"text": "a"}\n{"text": 7}\n')
    Path("some.jsonl").write_text('{"text": "a", "id": 1}\n{"text": "b"}\n')
    Path("break.jsonl").write_text('{"text": "a", "id": "1\\n2"}\n')
    Path("p").mkdir()
    Path("f.xyz").write_text("")


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_encoded_is_refused_and_leaves_nothing(run, release, features, tmp_path, name):
    write_faults(features)
    before = sorted(tmp_path.iterdir())
    message, options = FAULTS[name]
    output = run("encode", release, name, *options, "--batch-size", 7, "--out", "c.npy", status=2)
    assert re.search(message, output.replace("\n", " ")), output
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_member_is_refused_at_its_end(encoder, features, tmp_path):
    path = tmp_path / "plain.npz"
    np.savez(path, image=np.tile(features, (200, 1, 1, 1)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"the array 'image' is damaged"):
        encode_file(encoder, "image", open_inputs(path, "image", None, 7).blocks, tmp_path / "c.npy")
    assert {file.name for file in tmp_path.iterdir()} == {"plain.npz"}


ONE = (np.zeros((1, *SHAPES["image"][1:]), np.float32), ["a"])
NONE = (ONE[0][:0], [])


@pytest.mark.parametrize(
    ("blocks", "ids"),
    [
        ([NONE, ONE], ["a"]),
        ([NONE, NONE, ONE, NONE], ["a"]),
        ([(NONE[0], None), ONE], ["a"]),
        ([NONE], []),
        ([(ONE[0], np.array(["b"]))], ["b"]),
        ([(ONE[0], (id for id in "c"))], ["c"]),
        ([], None),
    ],
)
def test_blocks_without_rows_lose_no_ids(encoder, tmp_path, blocks, ids):
    encode_file(encoder, "image", blocks, tmp_path / "c.npy")
    assert CodesFile.open(tmp_path / "c.npy").ids == ids


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([ONE, (ONE[0], [1])], "ids must be strings, got int 1 at row 1"),
        ([(ONE[0], np.arange(1))], "ids must be strings, got int64"),
        ([(ONE[0], [None])], "ids must be strings, got NoneType"),
        ([(ONE[0], [Path("a.png")])], "ids must be strings, got PosixPath"),
        ([(ONE[0], "a")], "ids must be a list of strings, or None, got 'a'"),
        ([(ONE[0], 7)], "ids must be a list of strings, or None, got 7"),
        ([(ONE[0], ["caf\udce9.jpg"])], r"lone surrogates, got 'caf\\udce9.jpg' at row 0; .* rename"),
        ([NONE, (ONE[0], None)], "blocks must all have ids, or none of them"),
        (ONE[0], "blocks must be pairs .*got ndarray"),
        ([["a dog", "b"]], "blocks must be pairs .*got list"),
    ],
)
def test_blocks_of_another_form_are_refused_by_row_and_leave_nothing(encoder, tmp_path, blocks, message):
    with pytest.raises(ValueError, match=message):
        encode_file(encoder, "image", blocks, tmp_path / "c.npy")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("modality", ["audio", "bits", None])
def test_another_modality_is_refused(encoder, tmp_path, modality):
    with pytest.raises(ValueError, match="modality must be one of 'image', 'text'; got"):
        encode_file(encoder, modality, [ONE], tmp_path / "c.npy")


@pytest.mark.parametrize("name", ["c.npy", "c.npy.json", "c.npy.ids.txt"])
def test_no_file_is_overwritten(encoder, features, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{name} is there already"):
        encode_file(encoder, "image", [(features, IDS)], tmp_path / "c.npy")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "mine")]


def test_a_killed_encode_leaves_no_codes(release, features, tmp_path):
    program = f"""
import os, signal
import numpy as np
from scbch_keras.export import HashEncoder, encode_file
def blocks():
    x = np.zeros((9, 4, 3, 1), np.float32)
    yield x, list("abcdefghi")
    os.kill(os.getpid(), signal.SIGKILL)
encode_file(HashEncoder({str(release)!r}), "image", blocks(), {str(tmp_path / "c.npy")!r})
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    assert all(file.name.startswith(".") for file in tmp_path.iterdir())
    encode_file(HashEncoder(release), "image", [(features, IDS)], tmp_path / "c.npy")
    assert len(CodesFile.open(tmp_path / "c.npy").codes) == ROWS


@pytest.fixture
def codes(encoder, features, tmp_path):
    encode_file(encoder, "image", [(features[:20], IDS[:20]), (features[20:], IDS[20:])], tmp_path / "c.npy")
    return tmp_path / "c.npy"


@pytest.mark.parametrize("name", ["c.npy", "c.npy.json", "c.npy.ids.txt"])
def test_damaged_codes_are_refused(codes, name):
    path = codes.with_name(name)
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b'"sha256": "', b'"sha256": "0') if name.endswith("json") else content[:-3]
    )
    with pytest.raises(ValueError, match=f"{re.escape(str(codes))}"):
        CodesFile.open(codes)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        CodesFile.open(codes)


def _search_json(run, release, codes, *queries):
    run("search", codes, *queries, "--release", release, "--k", 3, "--force", "--out", "r.json")
    return Path("r.json").read_text(encoding="utf-8")


def test_search_finds_what_the_index_finds(run, release, encoder, features, codes):
    index = HammingIndex(BITS)
    index.add(encoder.image(features))
    ids, distances = index.search(encoder.text(TEXTS), 3)
    results = json.loads(_search_json(run, release, codes, *TEXTS))
    assert [row["query"] for row in results[::3]] == TEXTS
    assert [row["rank"] for row in results] == [1, 2, 3] * len(TEXTS)
    assert [row["id"] for row in results] == [IDS[id] for id in ids.ravel()]
    assert [row["distance"] for row in results] == distances.ravel().tolist()


def test_a_precision_that_the_release_has_not_is_refused(run, release, codes):
    told = run("search", codes, "a", "--release", release, "--precision", "int8", status=2)
    assert "holds no int8 encoder of text" in told


def test_search_with_codes_as_queries_and_csv(run, encoder, codes):
    encode_file(encoder, "text", [(TEXTS, None)], "t.npy")
    output = run("search", codes, "t.npy", "--k", 2, "--out", "r.csv")
    assert "[red]" not in output
    assert f"{ROWS} codes of {BITS} bits, icons version 1" in output
    with open("r.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["query"] for row in rows[::2]] == [f"t.npy[{row}]" for row in range(len(TEXTS))]
    ids, _ = open_index(codes)[0].search(encoder.text(TEXTS), 2)
    assert [row["id"] for row in rows] == [IDS[id] for id in ids.ravel()]


def test_a_query_is_shown_as_it_is(run, release, codes):
    assert "[red] :dog:" in run("search", codes, "[red] :dog:", "--release", release)


@pytest.mark.parametrize(
    "queries", [["zebra"], [""], ["..."], ["a dog", "zebra", "the beach"], ["dog\u00e9"]]
)
def test_a_query_of_which_no_word_is_known_is_an_error_unless_forced(run, release, encoder, codes, queries):
    lost = [text for text in queries if not encoder.known_words([text])[0]]
    told = run("search", codes, *queries, "--release", release, "--out", "r.json", status=2)
    assert f"the model knows no word of {lost[0]!r}, so that nothing found would be near it" in told
    assert "--force" in told
    assert not Path("r.json").exists()
    run("search", codes, *queries, "--release", release, "--force", "--out", "r.json")
    assert {row["query"] for row in json.loads(Path("r.json").read_text())} == set(queries)


def test_unknown_words_beside_known_ones_are_named(run, release, codes):
    told = run("search", codes, "a Zebra, dog", "the dog \u2014 Zebra! okapi", "--release", release)
    assert "Warning: the model does not know, and leaves out: 'zebra', 'okapi'" in told
    assert "Warning" not in run("search", codes, "A dog!", "(the) beach...", "--release", release)


def test_punctuation_at_the_ends_of_words_makes_no_difference(run, release, codes):
    plain, marked = (
        [(row["id"], row["distance"]) for row in json.loads(_search_json(run, release, codes, query))]
        for query in ("a dog", "\u00abA\u00bb, dog!\u2026")
    )
    assert plain == marked


def test_a_picture_is_not_searched_for_as_text(run, release, codes):
    Path("dog.jpg").write_bytes(b"\xff\xd8")
    # This release takes no pictures, and says so.
    assert "image" in run("search", codes, "dog.jpg", "--release", release, status=2)
    told = run("search", codes, "a dog", "missing.PNG", "--release", release, status=2)
    assert "'missing.PNG' is named like a picture, and there is no such file; --modality text" in told
    assert "knows no word of 'dog.jpg'" in run(
        "search", codes, "dog.jpg", "--release", release, "--modality", "text", status=2
    )


def test_a_query_that_is_also_a_file_or_folder_is_searched_for_as_text_and_said(run, release, codes):
    Path("dog").mkdir()
    Path("beach").write_text("")
    told = run("search", codes, "dog", "beach", "a", "the dog.jpg a", "x" * 5000 + " a", "--release", release)
    assert "dog is also a folder: searched for as text" in told
    assert "beach is also a file, but named like no picture: searched for as text" in told
    assert told.count("is also") == 2
    assert "is also" not in run("search", codes, "dog", "--release", release, "--modality", "text")


def test_options_of_queries_that_are_encoded_are_refused_for_codes(run, codes):
    for option in (("--modality", "image"), ("--force",)):
        assert "--release" in run("search", codes, codes, *option, status=2)


def test_codes_of_two_models_are_not_compared(run, release, encoder, codes, features):
    other = release.with_name("2")
    encode_file(HashEncoder(other), "image", [(features, None)], "other.npy")
    for arguments in ((codes, "a dog", "--release", other), (codes, "other.npy"), ("other.npy", codes)):
        output = run("search", *arguments, status=2)
        assert re.search("codes of two models cannot be compared.*icons version", output)
    CodesFile.open(codes).index().save("index.npz")
    assert HammingIndex.load("index.npz").source == Source.of(encoder)
    assert "two models" in run("search", "index.npz", "a dog", "--release", other, status=2)
    assert "Warning" not in run("search", "index.npz", "a dog", "--release", release)
    found = json.loads(_search_json(run, release, "index.npz", "a dog"))
    assert found == json.loads(_search_json(run, release, codes, "a dog"))
    assert found[0]["id"] in IDS


def test_an_index_that_does_not_say_its_model_is_searched_with_a_warning(run, release, encoder, features):
    index = HammingIndex(BITS)
    index.add(encoder.image(features), ids=np.arange(100, 100 + ROWS))
    index.save("index.npz")
    output = run("search", "index.npz", "a dog", "--release", release, "--out", "r.json")
    assert "Warning: index.npz does not say which model made its codes" in output
    assert json.loads(Path("r.json").read_text())[0]["id"] >= 100


def test_the_commands_import_neither_keras_nor_tensorflow():
    program = (
        "import sys, scbch_keras.training.cli.serving\n"
        "print({'keras', 'tensorflow', 'torch', 'jax', 'PIL', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_the_blocks_of_the_docs_run(release, features, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    Path("releases").symlink_to(release.parents[1])
    np.save("features.npy", features)
    Path("texts.txt").write_text("a dog\n\nthe beach\n")
    names = {}
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.M)
    assert [language for language, _ in blocks] == ["bash", "python", "python", "python", "bash"]
    for language, block in blocks[:-1]:
        if language == "python":
            exec(compile(block, str(DOCS), "exec"), names)
        else:
            subprocess.run(["bash", "-euc", block], check=True)
    assert names["ids"].shape == (1, 5)
    assert HammingIndex.load("images.npz").source == names["index"].source == Source.of(names["encoder"])
    with open("results.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * 5
    with running_service("releases/icons/latest", "--codes", "images.npy") as (address, _):
        block = blocks[-1][1].replace("localhost:8000", address.removeprefix("http://"))
        told = subprocess.run(["bash", "-euc", block], check=True, capture_output=True, text=True).stdout
    assert told.startswith('{"release":"icons version 1')
    assert '"results":[[{"id":' in told
    assert 'scbch_requests_total{path="/search",status="200"} 1.0' in told
