"""Files that were damaged or made to harm: declared errors only, in time and memory of their size."""

import gzip
import io
import json
import random
import time
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

h5py = pytest.importorskip("h5py")
scipy_io = pytest.importorskip("scipy.io")
import scipy.sparse  # noqa: E402

from scbch_keras.files import file_in, hidden_sibling  # noqa: E402
from scbch_keras.npz import load_npz  # noqa: E402
from scbch_keras.training.bulk import shards  # noqa: E402
from scbch_keras.training.data.benchmarks.files import DataError, Reader  # noqa: E402
from scbch_keras.training.data.own.read import gather, read_own  # noqa: E402
from scbch_keras.training.data.own.stream import open_inputs  # noqa: E402
from scbch_keras.training.data.own.vocabulary import load_vocabulary, save_vocabulary  # noqa: E402
from scbch_keras.training.features.text import TextFeatures  # noqa: E402
from scbch_keras.training.grid.cells import read_cells  # noqa: E402
from scbch_keras.training.runs.folder import RunError, RunFolder  # noqa: E402
from scbch_keras.training.runs.recipe import resolve  # noqa: E402
from scbch_keras.training.tfx.examples import read_examples  # noqa: E402

pytestmark = pytest.mark.numpy_only

ROWS = 6
RNG = np.random.default_rng(0)
IMAGE, TEXT = RNG.random((ROWS, 4), np.float32), RNG.random((ROWS, 3), np.float32)
LABELS = (np.arange(ROWS)[:, None] % 2 == np.arange(2)).astype(np.uint8)


def arrays():
    return {"image": IMAGE, "text": TEXT, "labels": LABELS}


def write_npz(path):
    np.savez_compressed(path, **arrays(), ids=np.arange(ROWS).astype(str))


def write_h5(path):
    with h5py.File(path, "w") as file:
        for name, values in arrays().items():
            file.create_dataset(name, data=values, chunks=(3, values.shape[1]), compression="gzip")


def write_mat(path):
    scipy_io.savemat(
        path, {"image": IMAGE, "A": scipy.sparse.csc_array(IMAGE.astype(float))}, do_compression=True
    )


def write_plain_mat(path):
    scipy_io.savemat(path, {"image": IMAGE, "A": scipy.sparse.csc_array(IMAGE.astype(float))})


def write_parquet(path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "image": IMAGE.tolist(),
        "text": TEXT.tolist(),
        "labels": [["a", "b"]] * ROWS,
        "id": list("abcdef"),
    }
    parquet.write_table(pa.table(columns), path)


def write_csv(path):
    for number in range(ROWS):
        (path.parent / f"{number}.png").touch()
    path.write_text("id,picture,text,labels\n" + "".join(f"{k},{k}.png,word {k},a;b\n" for k in range(ROWS)))


def write_jsonl(path):
    (path.parent / "x.png").touch()
    row = {"picture": "x.png", "text": "word", "labels": ["a", "b"]}
    path.write_text("".join(json.dumps({"id": str(k), **row}) + "\n" for k in range(ROWS)))


def write_cells(path):
    epoch = {"epoch": 1, "i2t": 0.5, "t2i": 0.5}
    cell = {
        "dataset": "d",
        "title": "t",
        "stand_in": False,
        "noise": 0.5,
        "bits": 16,
        "seed": 0,
        "variant": "full",
    }
    cell |= {"backend": "torch", "epochs": 1, "versions": {}, "data_checksum": "x", "history": [epoch]}
    path.write_text(json.dumps({**cell, "seconds": 1.0, "settings": {}}) + "\n")


def write_run(path):
    path.parent.mkdir(exist_ok=True)
    RunFolder.create(path.parent / "run", resolve(data="icons"), {})
    path.write_bytes((path.parent / "run" / "run.json").read_bytes())


def read_run(path):
    (path.parent / "run" / "run.json").write_bytes(path.read_bytes())
    return RunFolder.open(path.parent / "run").recipe


def read_blocks(path):
    return [np.asarray(block) for block, _ in open_inputs(path, "text", None, 4).blocks]


def read_shard(path):
    return [np.asarray(block) for block, _ in shards.read(path, shards.Columns("image", None), 4)]


def read_benchmark_arrays(*keys):
    return lambda path: [Reader(path.parent / "cache").features(path, [key], 4, [ROWS]).sum() for key in keys]


FORMATS = {
    "x.npz": (write_npz, (read_own, read_blocks, load_npz)),
    "x.h5": (write_h5, (read_own, read_blocks, read_benchmark_arrays("image"))),
    "x.mat": (write_mat, (read_benchmark_arrays("image", "A"),)),
    "plain.mat": (write_plain_mat, (read_benchmark_arrays("image", "A"),)),
    "x.parquet": (write_parquet, (read_own, read_shard)),
    "x.csv": (write_csv, (lambda path: read_own(path, check_pictures=False), read_blocks)),
    "x.jsonl": (write_jsonl, (lambda path: read_own(path, check_pictures=False), read_blocks)),
    "cells.jsonl": (write_cells, (read_cells,)),
    "labels.json": (lambda path: save_vocabulary(path, ["a", "b"]), (load_vocabulary,)),
    "words.npz": (lambda path: TextFeatures("tfidf").fit(["a b", "b c"]).save(path), (TextFeatures.load,)),
    "run.toml": (lambda path: path.write_text('data = "icons"\nbits = 16\nimage_units = [32]\n'), (resolve,)),
    "state.json": (write_run, (read_run,)),
}
SWAPS = [
    (b"1", b"null"),
    (b'"', b"["),
    (b"[", b"{"),
    (b"0", b"1e999"),
    (b":", b": [" * 3000),
    (b",", b",,"),
    (b"a", b"\xff"),
]


def mutated(content, seed):
    draw = random.Random(seed)
    kind = draw.randrange(4)
    if kind == 0:
        return content[: draw.randrange(len(content))]
    if kind == 1:
        old, new = draw.choice(SWAPS)
        return content.replace(old, new, draw.choice([1, 2, -1]))
    changed = bytearray(content)
    for _ in range(draw.choice([1, 2, 8])):
        place = draw.randrange(len(content))
        changed[place] = draw.choice([0, 255, changed[place] ^ (1 << draw.randrange(8)), draw.randrange(256)])
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_file_is_read_or_refused_with_a_declared_error(tmp_path, name, seed):
    write, readers = FORMATS[name]
    whole, path = tmp_path / f"whole-{name}", tmp_path / name
    if not whole.exists():
        write(whole)
        path.write_bytes(whole.read_bytes())
        for read in readers:
            read(path)
    path.write_bytes(mutated(whole.read_bytes(), seed))
    for read in readers:
        with suppress(ValueError, OSError):
            read(path)


@pytest.mark.parametrize("rows", [[2**30, 1, 2, 3, 0], [-1, 1, 2, 3, 0], [1, 1, 2, 3, 0], [4, 1, 2, 3, 0]])
def test_row_indices_of_a_sparse_matrix_are_checked_in_full(tmp_path, rows):
    path, true = tmp_path / "s.mat", [0, 1, 2, 3, 0]
    matrix = scipy.sparse.csc_matrix((np.ones(5), true, [0, 2, 4, 5]), shape=(4, 3))
    scipy_io.savemat(path, {"A": matrix})
    content = path.read_bytes()
    path.write_bytes(content.replace(np.array(true, "<i4").tobytes(), np.array(rows, "<i4").tobytes()))
    with pytest.raises(DataError, match=r"row ind"):
        Reader(tmp_path / "cache").features(path, ["A"], 3, [4])


@pytest.mark.parametrize("starts", [[0, 2, 4, 2**30], [0, 4, 2, 5], [1, 2, 4, 5], [0, -2, 4, 5]])
def test_column_starts_of_a_sparse_matrix_are_checked_in_full(tmp_path, starts):
    path, true = tmp_path / "s.mat", [0, 2, 4, 5]
    scipy_io.savemat(path, {"A": scipy.sparse.csc_matrix((np.ones(5), [0, 1, 2, 3, 0], true), shape=(4, 3))})
    content = path.read_bytes()
    path.write_bytes(content.replace(np.array(true, "<i4").tobytes(), np.array(starts, "<i4").tobytes()))
    with pytest.raises(DataError, match=r"starts of its columns|ends too early"):
        Reader(tmp_path / "cache").features(path, ["A"], 3, [4])


def external(file, other):
    file.create_dataset("image", (ROWS, 4), "f4", external=[(str(other), 0, 4 * ROWS * 4)])


def virtual(file, other):
    layout = h5py.VirtualLayout((ROWS, 4), "f4")
    layout[:] = h5py.VirtualSource(str(other), "image", (ROWS, 4))
    file.create_virtual_dataset("image", layout)


def external_link(file, other):
    file["image"] = h5py.ExternalLink(str(other), "image")


def soft_link(file, other):
    file["far"] = h5py.ExternalLink(str(other), "/")
    file["image"] = h5py.SoftLink("/far/image")


@pytest.mark.parametrize("lead", [external, virtual, external_link, soft_link])
@pytest.mark.parametrize(
    "read",
    [read_own, read_benchmark_arrays("image"), lambda path: list(open_inputs(path, "image", None, 4).blocks)],
)
def test_no_reader_of_hdf5_reads_another_file(tmp_path, lead, read):
    other, path = tmp_path / "other.h5", tmp_path / "x.h5"
    write_h5(other)
    with h5py.File(path, "w") as file:
        lead(file, other)
    with pytest.raises(ValueError, match=r"not followed|in other files"):
        read(path)


def hdf5_bomb(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("image", (2**20, 2**10), "f4", chunks=(2**10, 2**10), compression="gzip")


def npz_bomb(path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("image.npy", "w") as member,
    ):
        header = {"descr": "<f4", "fortran_order": False, "shape": (2**16, 2**11)}
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(2**9):
            member.write(bytes(2**20))


def npz_lie(path):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", content.getvalue())


def parquet_bomb(path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    values = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2**26, np.int8)), pa.array([0.0]))
    rows = pa.ListArray.from_arrays(pa.array([0, 2**26], pa.int32()), values.cast(pa.float64()))
    parquet.write_table(pa.table({"image": rows}), path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write"),
    [("x.h5", hdf5_bomb), ("x.npz", npz_bomb), ("y.npz", npz_lie), ("x.parquet", parquet_bomb)],
)
def test_what_a_file_unfolds_into_is_bounded_before_it_is_allocated(tmp_path, name, write):
    path = tmp_path / name
    write(path)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"without compression|declares the shape"):
            read_own(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def wide_header(path):
    path.write_text(",".join(f"c{k}" for k in range(40_000)) + "\n")


def many_labels(path):
    row = {"id": "a", "picture": "p", "text": "t", "labels": [f"l{k}" for k in range(40_000)]}
    path.write_text(json.dumps(row) + "\n")


def many_keys(path):
    path.write_text(json.dumps({f"k{k}": 1 for k in range(40_000)}) + "\n")


def many_rows_of_their_own_keys(path):
    (path.parent / "p").touch()
    path.write_text("".join(json.dumps({"file_name": "p", f"k{k}": 1}) + "\n" for k in range(8_000)))


def many_digits(path):
    path.write_text("id,picture,text,labels\na,p,t," + "1" * 100_000 + "x\n")


def many_names(path):
    names = [f"n{k}" for k in range(20_000)]
    np.savez_compressed(
        path, image=np.ones((2, 2)), text=np.ones((2, 2)), labels=np.eye(2, 20_000), label_names=names
    )


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.csv", wide_header),
        ("x.jsonl", many_labels),
        ("y.jsonl", many_keys),
        ("metadata.jsonl", many_rows_of_their_own_keys),
        ("y.csv", many_digits),
        ("x.npz", many_names),
    ],
)
def test_checks_take_time_in_proportion_to_the_file(tmp_path, name, write):
    path = tmp_path / name
    write(path)
    vocabulary = [f"n{k}" for k in range(20_000)][::-1]
    began = time.process_time()
    try:
        read_own(path, label_names=vocabulary if name.endswith("npz") else None, check_pictures=False)
    except ValueError:
        assert name != "x.npz"
    if not name.endswith("npz"):
        gather(path, ";", None, [].append, check_pictures=False)
    if name == "metadata.jsonl":
        gather(path, ";", None, [].append, check_pictures=False, columns="labels=k*")
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    "model", ["/etc/passwd", "../x.keras", "a/b", ".", "..", "", "c:x", "link.keras", 3, ["x"]]
)
def test_a_run_names_a_model_file_of_its_own_folder_only(tmp_path, model):
    victim = tmp_path / "x.keras"
    victim.write_text("precious")
    RunFolder.create(tmp_path / "run", resolve(data="icons"), {})
    (tmp_path / "run" / "link.keras").symlink_to(victim)
    state = tmp_path / "run" / "run.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "model": model}))
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        RunFolder.open(tmp_path / "run")
    assert victim.read_text() == "precious"


def test_a_name_out_of_a_file_is_a_file_of_its_folder(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x")
    assert file_in(tmp_path, "a.bin") == tmp_path / "a.bin"
    with pytest.raises(FileNotFoundError, match=r"b\.bin is missing"):
        file_in(tmp_path, "b.bin")


def test_temporary_names_are_unique_and_keep_the_suffix(tmp_path):
    names = {hidden_sibling(tmp_path / "checkpoint-2.keras") for _ in range(5)}
    assert len(names) == 5
    assert {name.suffix for name in names} == {".keras"}


@pytest.mark.parametrize("left", [(), ("run.toml",), ("run.toml", ".run.json-0123"), (".run.lock",)])
def test_a_run_killed_as_it_was_created_is_begun_anew(tmp_path, left):
    for name in left:
        (tmp_path / name).write_text("x")
    with pytest.raises(RunError, match="start it without resuming"):
        RunFolder.open(tmp_path)
    RunFolder.create(tmp_path, resolve(data="icons"), {})
    (tmp_path / "run.toml").unlink()  # as if killed between the two
    RunFolder.open(tmp_path)
    assert resolve(tmp_path / "run.toml") == resolve(data="icons")
    if "run.toml" in left:
        assert (tmp_path / "before-run.toml").read_text() == "x"


def test_cells_that_two_processes_wrote_are_taken_once(tmp_path):
    path = tmp_path / "cells.jsonl"
    write_cells(path)
    cell = json.loads(path.read_text())
    path.write_text("".join(json.dumps({**cell, "seconds": second}) + "\n" for second in (1, 2)))
    assert len(read_cells(path)) == 1
    cell["history"][0]["i2t"] = 0.6
    with path.open("a") as file:
        file.write(json.dumps(cell) + "\n")
    with pytest.raises(ValueError, match=r"line 3: .* that of line 1 again with other results"):
        read_cells(path)


@pytest.mark.parametrize(
    "content",
    ["a = " + "[" * 100_000, 'data = ["x"]', "data = 1979-05-27", 'data = "x"\nmargin = inf', "data = {}"],
)
def test_a_recipe_that_cannot_be_meant_is_refused(tmp_path, content):
    path = tmp_path / "c.toml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"config|data|margin"):
        resolve(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_record_that_declares_more_than_follows_is_refused_before_it_is_read(tmp_path, compressed):
    pytest.importorskip("tensorflow")
    path = tmp_path / ("x.tfrecord.gz" if compressed else "x.tfrecord")
    content = (2**29).to_bytes(8, "little") + bytes(8)
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(ValueError, match=r"record 0: (cut short|it takes 536,870,928 bytes unpacked)"):
        read_examples("train_files", [str(path)], {"image": "i", "text": "t", "labels": "l"})
