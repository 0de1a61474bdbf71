"""Many files to codes: whole shards or none, started again where it ended, and nothing mixed."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.numpy_only

pa = pytest.importorskip("pyarrow")
pytest.importorskip("onnx")
for needed in ("onnxruntime", "typer", "h5py"):
    pytest.importorskip(needed)

from pyarrow import parquet  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from scbch_keras.export import CodesFile, HashEncoder  # noqa: E402
from scbch_keras.training.bulk.run import encode_shards  # noqa: E402
from scbch_keras.training.cli.main import commands  # noqa: E402
from tests.export.serving.test_codes_file import TEXTS, write_release  # noqa: E402
from tests.export.serving.test_encoder import SHAPES  # noqa: E402

SHARDS, ROWS = 5, 30


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases") / "icons"
    return write_release(folder / "1", b"a model"), write_release(folder / "2", b"another model")


@pytest.fixture(scope="module")
def encoder(releases):
    return HashEncoder(releases[0])


@pytest.fixture(scope="module")
def features():
    """Rows of each shard: the text encoder's features, as it takes flat rows."""
    return np.random.default_rng(0).random((SHARDS, ROWS, SHAPES["text"][1])).astype(np.float32)


@pytest.fixture
def inputs(tmp_path, features):
    folder = tmp_path / "in"
    folder.mkdir()
    for shard, rows in enumerate(features):
        names = [f"é{shard}-{row}" for row in range(ROWS)]
        write(folder / f"part-{shard}.parquet", {"text": rows.tolist(), "id": names})
    return folder


def write(path, columns):
    parquet.write_table(pa.table(columns), path, row_group_size=7)


def run(*arguments, status=0):
    done = CliRunner().invoke(commands(), ["encode", *(str(argument) for argument in arguments)])
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


def assert_codes(out, encoder, features):
    for shard, rows in enumerate(features):
        codes = CodesFile.open(out / f"part-{shard}.parquet.npy")
        np.testing.assert_array_equal(codes.codes, encoder.text(rows))
        assert codes.ids == [f"é{shard}-{row}" for row in range(ROWS)]
    manifest = json.loads((out / "_manifest.json").read_text())
    assert manifest["source"]["model"] == encoder.manifest["files"]["model.keras"]["sha256"]
    assert [record["rows"] for record in manifest["finished"]] == [ROWS] * SHARDS
    assert not [path for path in out.rglob(".*") if path.name != ".bulk.lock"]


def test_each_shard_becomes_its_codes_and_a_second_run_has_nothing_to_do(
    inputs, tmp_path, releases, encoder, features
):
    arguments = (
        releases[0], inputs / "*.parquet", "--modality", "text", "--id", "id", "--out", tmp_path / "out",
        "--engine", "local", "--batch-size", 4,
    )  # fmt: skip
    assert f"{SHARDS * ROWS} codes" in run(*arguments)
    assert_codes(tmp_path / "out", encoder, features)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.npy*")}
    assert f"{SHARDS} shards, 0 of them encoded now" in run(*arguments)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.npy*")} == before


@pytest.mark.parametrize("point", ["part-2.parquet.npy", "part-2.parquet.npy.json", "part-2.parquet.json"])
@pytest.mark.slow
def test_killed_at_a_shard_and_started_again_it_does_what_is_missing(
    inputs, tmp_path, releases, encoder, features, point
):
    out = tmp_path / "out"
    program = f"""
import os, pathlib
from scbch_keras.export import HashEncoder
from scbch_keras.training.bulk.run import encode_shards
replace = os.replace
def killing(source, target):
    if str(target).endswith({os.sep + point!r}):
        os.kill(os.getpid(), 9)
    replace(source, target)
os.replace = killing
out = pathlib.Path({str(out)!r})
encode_shards(HashEncoder({str(releases[0])!r}), {str(inputs / "*.parquet")!r}, "text", out, id="id")
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in (out / "_shards").glob("[!.]*.json")}
    assert len(finished) == 2
    outcome = encode_shards(encoder, str(inputs / "*.parquet"), "text", out, id="id")
    assert outcome == (SHARDS, SHARDS - 2, SHARDS * ROWS)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert_codes(out, encoder, features)


def test_texts_and_numbers_as_ids_and_columns_of_other_names(tmp_path, releases, encoder):
    write(tmp_path / "a.parquet", {"caption": TEXTS, "number": list(range(len(TEXTS)))})
    outcome = encode_shards(
        encoder,
        str(tmp_path / "*.parquet"),
        "text",
        tmp_path / "out",
        key="caption",
        id="number",
        batch_size=4,
    )
    assert outcome.rows == len(TEXTS)
    codes = CodesFile.open(tmp_path / "out" / "a.parquet.npy")
    np.testing.assert_array_equal(codes.codes, encoder.text(TEXTS))
    assert codes.ids == [str(n) for n in range(len(TEXTS))]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"text": [[0.0] * 6], "id": ["é0-0"]},
            "ids must differ; 'é0-0' is in .*part-0.parquet and again in .*x.parq",
        ),
        ({"text": [[0.0] * 6] * 2, "id": ["x", "x"]}, "ids must differ; 'x' is in .*x.parquet and again in"),
        ({"text": [[0.0] * 6]}, "the column 'id' is missing; found: text"),
        ({"words": [[0.0] * 6], "id": ["x"]}, "the column 'text' is missing; found: words, id"),
        ({"text": [[0.0] * 6], "id": [None]}, "x.parquet, row 0: ids: expected a string or an integer"),
        ({"text": [[0.0] * 6], "id": [1.5]}, "ids: expected a string or an integer"),
    ],
)
def test_what_is_wrong_in_one_shard_ends_it_before_the_first(inputs, tmp_path, encoder, columns, message):
    write(inputs / "x.parquet", columns)
    with pytest.raises(ValueError, match=message):
        encode_shards(encoder, str(inputs / "*.parquet"), "text", tmp_path / "out", id="id")
    assert not list((tmp_path / "out").glob("*.npy"))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[0.0] * 6, [0.0] * 5], "lists of one length|expected lists"),
        ([[0.0] * 6, None], "expected a value in each row"),
        ([[0.0, 1.0, 2.0, 3.0, 4.0, None]] * 2, "empty places"),
        ([[0.0] * 3] * 2, "shape|features"),
        ([[float("nan")] * 6] * 2, "finite|NaN"),
        ([True, False], "expected lists of numbers, strings"),
    ],
)
def test_rows_that_cannot_be_encoded_leave_the_other_shards_and_nothing_of_theirs(
    inputs, tmp_path, encoder, column, message
):
    write(inputs / "x.parquet", {"text": column, "id": ["x", "y"]})
    with pytest.raises(ValueError, match=message) as raised:
        encode_shards(encoder, str(inputs / "*.parquet"), "text", tmp_path / "out", id="id")
    assert "x.parquet" in str(raised.value)
    assert len(list((tmp_path / "out").glob("*.npy"))) == SHARDS
    assert not list((tmp_path / "out").glob("x*"))


def test_another_release_or_other_settings_or_changed_inputs_are_refused(inputs, tmp_path, releases, encoder):
    pattern, out = str(inputs / "*.parquet"), tmp_path / "out"
    encode_shards(encoder, pattern, "text", out, id="id")
    with pytest.raises(ValueError, match="codes of two models"):
        encode_shards(HashEncoder(releases[1]), pattern, "text", out, id="id")
    with pytest.raises(ValueError, match="name another --out"):
        encode_shards(encoder, pattern, "text", out)
    shutil.copy(inputs / "part-1.parquet", inputs / "part-0.parquet")
    with pytest.raises(ValueError, match="was changed since"):
        encode_shards(encoder, pattern, "text", out, id="id")
    (tmp_path / "other").mkdir()
    shutil.copy(out / "part-0.parquet.npy", tmp_path / "other" / "c.npy")
    with pytest.raises(ValueError, match="has codes, such as"):
        encode_shards(encoder, pattern, "text", tmp_path / "other", id="id")


def test_codes_that_were_damaged_are_noticed(inputs, tmp_path, encoder):
    pattern, out = str(inputs / "*.parquet"), tmp_path / "out"
    encode_shards(encoder, pattern, "text", out, id="id")
    path = out / "part-3.parquet.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        encode_shards(encoder, pattern, "text", out, id="id")
    path.unlink()
    assert encode_shards(encoder, pattern, "text", out, id="id").encoded == 1


def test_two_at_once_are_refused(inputs, tmp_path, encoder):
    out = tmp_path / "out"

    def second(done, total):
        with pytest.raises(ValueError, match="is being filled by another process"):
            encode_shards(encoder, str(inputs / "*.parquet"), "text", out, id="id")

    encode_shards(encoder, str(inputs / "*.parquet"), "text", out, id="id", progress=second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--id", "id"), "--engine with --modality"),
        (("--engine", "local"), "--engine with --modality"),
        (("--engine", "spark", "--modality", "text"), "expected one of local, ray, beam"),
        (("--engine", "local", "--modality", "sound"), "modalit"),
        (("--engine", "local", "--modality", "text", "--skip-broken"), "do not go with --engine"),
        (("--engine", "local", "--modality", "text", "--columns", "text=t"), "do not go with --engine"),
    ],
)
def test_wrong_options_are_one_message(inputs, tmp_path, releases, options, message):
    output = run(releases[0], inputs / "*.parquet", "--out", tmp_path / "out", *options, status=2)
    assert message in output
    assert "Traceback" not in output


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("beam", "apache_beam")])
def test_an_engine_that_is_not_installed_is_named(inputs, tmp_path, encoder, engine, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="pip install"):
        encode_shards(encoder, str(inputs / "*.parquet"), "text", tmp_path / "out", id="id", engine=engine)


@pytest.mark.parametrize(
    ("name", "message"), [("none/*.parquet", "nothing that"), ("*.csv", "expected a folder")]
)
def test_patterns_without_shards_are_refused(tmp_path, encoder, name, message):
    (tmp_path / "a.csv").write_text("text\na\n")
    with pytest.raises(ValueError, match=message):
        encode_shards(encoder, str(tmp_path / name), "text", tmp_path / "out")
