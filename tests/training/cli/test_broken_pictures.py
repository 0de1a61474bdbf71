"""`scbch encode` on folders of pictures: which files count, and what becomes of broken ones."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.numpy_only

onnx = pytest.importorskip("onnx")
for needed in ("onnxruntime", "typer", "h5py"):
    pytest.importorskip(needed)
Image = pytest.importorskip("PIL.Image")

from typer.testing import CliRunner  # noqa: E402

from benchmarks.small_release import sign_graph  # noqa: E402
from scbch_keras.export import CodesFile, HashEncoder, ImagePipeline  # noqa: E402
from scbch_keras.export.format import manifest as manifests  # noqa: E402
from scbch_keras.training.cli import serving as commands_serving  # noqa: E402
from scbch_keras.training.data.own.pictures import table_in  # noqa: E402
from scbch_keras.training.data.own.stream import open_inputs  # noqa: E402

BITS, SIDE = 8, 4
WEIGHTS = np.random.default_rng(0).standard_normal((SIDE * SIDE * 3, BITS)).astype(np.float32)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release that takes pictures, around hand-written encoders."""
    version = tmp_path_factory.mktemp("releases") / "icons" / "1"
    version.mkdir(parents=True)
    onnx.save(sign_graph("image", "FLOAT", ["batch", SIDE**2], WEIGHTS[: SIDE**2]), version / "image.onnx")
    pictures = sign_graph("pictures", "UINT8", ["batch", "h", "w", 3], WEIGHTS)
    onnx.save(pictures, version / manifests.RAW_IMAGE_ONNX)
    ImagePipeline((SIDE, SIDE)).save(version)
    (version / manifests.MODEL).write_bytes(b"a model")
    manifests.write(
        version,
        {
            **{"schema": manifests.SCHEMA, "version": 1, "bits": BITS, "formats": ["onnx"]},
            "signatures": {"encode_image": manifests.signature("image", [None, SIDE**2], BITS)},
            "encoders": {
                "image": {"onnx": {"path": "image.onnx"}},
                manifests.RAW_IMAGE: {
                    "pipeline": {"path": manifests.IMAGE_PIPELINE},
                    "onnx": {"path": manifests.RAW_IMAGE_ONNX},
                },
            },
            "files": manifests.describe_files(version),
        },
    )
    return version


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Nine good pictures in p, p/sub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "p" / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(9):
        pixels = rng.integers(0, 255, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "p" / ("sub" if number > 5 else "") / f"{number}.png")
    return tmp_path / "p"


def run(*arguments, status=0):
    done = CliRunner().invoke(commands_serving.app, ["encode", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done.output


def empty(path):
    path.write_bytes(b"")


def half(path):
    path.write_bytes(path.read_bytes()[:-300])


def another_format(path):
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


def sixteen_bits(path):
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(path)


def dangling(path):
    path.unlink()
    path.symlink_to("nowhere.png")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


BREAKS = {
    "a link to nothing": (dangling, "there is no such file"),
    "a pipe": (pipe, "must be a plain file, got a pipe"),
    "empty": (empty, "expected a picture, got something that is none"),
    "cut off": (half, "truncated or broken"),
    "of another format": (another_format, "got something that is none"),
    "of 16 bits": (sixteen_bits, "expected 8 bits a channel"),
}


@pytest.mark.parametrize("batch_size", [2, 1024])
@pytest.mark.parametrize("how", BREAKS)
def test_broken_pictures_are_left_out_and_listed(release, folder, how, batch_size):
    spoil, reason = BREAKS[how]
    good = [path for path in sorted(folder.rglob("*.png")) if path.stem not in ("3", "7")]
    for name in ("3.png", "sub/7.png"):
        spoil(folder / name)
    output = run(release, "p", "--out", "c.npy", "--skip-broken", "--batch-size", batch_size)
    assert "7 codes" in output
    assert "c.broken.csv: 2 pictures left out" in output
    codes = CodesFile.open("c.npy")
    assert codes.ids == [path.relative_to(folder).as_posix() for path in good]
    np.testing.assert_array_equal(codes.codes, HashEncoder(release, modalities=("image",)).image(good))
    with Path("c.broken.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["id"]) for row in rows] == [("3", "3.png"), ("7", "sub/7.png")]
    assert all(reason in row["reason"] for row in rows)


@pytest.mark.parametrize("name", ["1.HEIC", "sub/2.avif", "3.jxl"])
def test_pictures_of_kinds_that_are_not_read_are_told_and_not_just_left_out(release, folder, name):
    (folder / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    output = run(release, "p", "--out", "c.npy", status=2)
    assert "1 of 10 pictures cannot be read" in output
    assert f"{name}: expected a picture, got something that is none of BMP, GIF, JPEG" in output
    run(release, "p", "--out", "c.npy", "--skip-broken")
    assert name in Path("c.broken.csv").read_text()


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"a\nb.png"])
def test_a_picture_whose_name_cannot_be_an_id_is_named(release, folder, name):
    path = os.path.join(os.fsencode(folder), name)
    try:
        shutil.copy(folder / "1.png", path)
    except OSError:
        pytest.skip("this system has no such names")
    output = run(release, "p", "--out", "c.npy", "--skip-broken", status=2)
    assert "a picture's name is its id, expected one line of UTF-8" in output
    assert "rename it" in output


def test_a_wrong_argument_is_not_told_as_a_broken_picture(release, folder):
    output = run(release, "p", "--out", "c.txt", status=2)
    assert "codes are written to a .npy file" in output
    assert "--skip-broken" not in output


def test_a_picture_of_a_list_without_its_id_is_named(release, folder):
    Path("list.csv").write_text("id,picture\na,p/1.png\n,p/2.png\n")
    output = run(release, "list.csv", "--modality", "image", "--out", "c.npy", status=2)
    assert "row 2 (line 3): id: expected a value, got an empty cell" in output


@pytest.mark.parametrize("how", BREAKS)
def test_without_the_option_a_broken_picture_is_refused_and_nothing_left(release, folder, tmp_path, how):
    spoil, reason = BREAKS[how]
    spoil(folder / "sub" / "8.png")
    output = run(release, "p", "--out", "c.npy", "--batch-size", 2, status=2)
    assert reason in output
    assert "--skip-broken leaves broken pictures out" in output
    assert "0/9" not in output
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("how", ["empty", "of another format", "of 16 bits", "a link to nothing"])
def test_headers_are_looked_at_before_any_picture_is_encoded(release, folder, monkeypatch, how):
    BREAKS[how][0](folder / "sub" / "8.png")
    monkeypatch.setattr(
        HashEncoder, "image", lambda *_, **__: pytest.fail("encoded before all headers were read")
    )
    assert "1 of 9 pictures cannot be read" in run(release, "p", "--out", "c.npy", status=2)


def test_a_list_of_pictures_keeps_its_ids_and_names_what_is_missing(release, folder):
    rows = [{"picture": f"p/{number}.png", "id": f"n{number}"} for number in (0, 99, 2)]
    Path("list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run(release, "list.jsonl", "--modality", "image", "--out", "c.npy", "--skip-broken")
    assert CodesFile.open("c.npy").ids == ["n0", "n2"]
    assert "1,n99,p/99.png,p/99.png: there is no such file" in Path("c.broken.csv").read_text()


def test_without_broken_pictures_there_is_no_list(release, folder, tmp_path):
    run(release, "p", "--out", "a.npy", "--skip-broken")
    run(release, "p", "--out", "b.npy")
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))
    assert not list(tmp_path.glob("*.broken.csv"))


def test_nothing_but_broken_pictures_gives_no_codes(release, folder, tmp_path):
    for path in folder.rglob("*.png"):
        empty(path)
    assert "none of 9 pictures can be read" in run(release, "p", "--out", "c.npy", "--skip-broken", status=2)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_list_that_is_there_is_not_overwritten(release, folder):
    empty(folder / "1.png")
    Path("c.broken.csv").write_text("mine")
    assert "is there already" in run(release, "p", "--out", "c.npy", "--skip-broken", status=2)
    assert Path("c.broken.csv").read_text() == "mine"


def test_features_cannot_be_skipped(release, folder):
    np.save("f.npy", np.zeros((3, SIDE**2), np.float32))
    told = run(release, "f.npy", "--modality", "image", "--out", "c.npy", "--skip-broken", status=2)
    assert "--skip-broken goes with files of pictures" in told


COUNTED = ("a.JPG", "b.jfif", "c.jpe", "d.Png", "e.pgm", "sub/f.TIFF")
NOT_COUNTED = (".DS_Store", "._a.JPG", ".hidden/x.png", "notes.txt", "sub/._f.TIFF", "table.csv")


def test_pictures_are_known_by_their_endings_and_hidden_files_are_left_out(tmp_path):
    for name in (*COUNTED, *NOT_COUNTED):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    [(_, ids)] = open_inputs(tmp_path, None, None, 99).blocks
    assert ids == list(COUNTED)


def test_hidden_tables_are_no_second_table(tmp_path):
    for name in ("t.CSV", "._t.csv", ".t.jsonl"):
        (tmp_path / name).write_bytes(b"")
    assert table_in(tmp_path).name == "t.CSV"
