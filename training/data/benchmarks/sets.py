"""The paper's four benchmarks, from the files under which the field passes them on, with the paper's splits.

Each is read from its community's files or, where the folder holds it, from the one HDF5 file a benchmark that
the authors' code makes of them. Rows keep the files' order: the first are the queries, all others the database,
whose first rows are the training set.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import one_of, share, whole
from scbch_keras.labels.noise import mixed_symmetric
from scbch_keras.training.data.benchmarks.files import DataError, Reader
from scbch_keras.training.data.benchmarks.rows import Rows, generated, listing, numbered_labels
from scbch_keras.training.data.benchmarks.subset import CACHE, SUBSETS, load_subset
from scbch_keras.training.data.pairs import RetrievalData

IMAGE_COLUMNS = 4096
STAND_IN = "STAND-IN.txt"


class Arrays(NamedTuple):
    """Where an array lies: a file's name and the keys in it, whose rows follow each other."""

    file: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Benchmark:
    """One row of the table: what the files are called and how their rows are split.

    Attributes:
        title: the benchmark's name in the literature.
        classes: number of labels.
        words: width of the text features, which `text_kind` names.
        query: the first rows.
        train: the rows after them.
        image: where the image features lie; text and labels: the same.
        hdf5: the authors' one file.
        noise: the file of published noisy labels at `{rate}`.
        rows: of all pairs, where the benchmark has a fixed number.
        image_columns: width of the image features.
    """

    title: str
    classes: int
    words: int
    text_kind: str
    query: int
    train: int
    image: Arrays
    text: Arrays
    labels: Arrays
    hdf5: str
    noise: str
    rows: int | None = None
    image_columns: int = IMAGE_COLUMNS

    @property
    def parts(self) -> dict[str, tuple[Arrays, int]]:
        """Where each array lies, with its width, by the prefix of its keys in the authors' file."""
        return {
            "Lab": (self.labels, self.classes),
            "Tag": (self.text, self.words),
            "Img": (self.image, self.image_columns),
        }


BENCHMARKS = {
    "mirflickr": Benchmark(
        title="MIRFlickr-25K",
        classes=24,
        words=1386,
        text_kind="bag of tags",
        query=2000,
        train=10_000,
        image=Arrays("mirflickr25k-iall-vgg.mat", ("XAll",)),
        text=Arrays("mirflickr25k-yall.mat", ("YAll",)),
        labels=Arrays("mirflickr25k-lall.mat", ("LAll",)),
        hdf5="MIRFlickr.h5",
        noise="mirflickr25k-lall-noise_{rate}.h5",
        rows=20_015,
    ),
    "nus-wide": Benchmark(
        title="NUS-WIDE",
        classes=21,
        words=1000,
        text_kind="bag of tags",
        query=2100,
        train=10_500,
        image=Arrays("nus-wide-tc21-xall-vgg-clean.mat", ("XAll",)),
        text=Arrays("nus-wide-tc21-yall-clean.mat", ("YAll",)),
        labels=Arrays("nus-wide-tc21-lall-clean.mat", ("LAll",)),
        hdf5="NUS-WIDE.h5",
        noise="nus-wide-tc21-lall-noise_{rate}.h5",
    ),
    "ms-coco": Benchmark(
        title="MS-COCO",
        classes=80,
        words=300,
        text_kind="Doc2Vec",
        query=5000,
        train=10_000,
        image=Arrays("MSCOCO_deep_doc2vec_data.h5py", ("train_imgs_deep", "test_imgs_deep")),
        text=Arrays("MSCOCO_deep_doc2vec_data.h5py", ("train_text", "test_text")),
        labels=Arrays("MSCOCO_deep_doc2vec_data.h5py", ("train_imgs_labels", "test_imgs_labels")),
        hdf5="MS-COCO.h5",
        noise="MSCOCO-lall-noise_{rate}.h5",
    ),
    "iapr-tc12": Benchmark(
        title="IAPR TC-12",
        classes=255,
        words=2912,
        text_kind="bag of words",
        query=2000,
        train=10_000,
        image=Arrays("iapr-tc12-rand.mat", ("VDatabase", "VTest")),
        text=Arrays("iapr-tc12-rand.mat", ("YDatabase", "YTest")),
        labels=Arrays("iapr-tc12-rand.mat", ("databaseL", "testL")),
        hdf5="IAPR.h5",
        noise="IAPR-lall-noise_{rate}.h5",
    ),
}
NAMES = (*BENCHMARKS, *SUBSETS)


def load_benchmark(
    name: str,
    folder: str | os.PathLike[str],
    noise: float = 0.0,
    seed: int = 0,
    cache: str | os.PathLike[str] | None = None,
) -> RetrievalData:
    """A benchmark of the paper, split as the paper does, from the files in `folder`.

    Features are float32 and memory-mapped; labels are uint8 0/1; ids are row numbers in the files' order. The
    database holds the training rows, with clean labels. With noise, the training labels are the published noisy
    ones where `folder` has them at that rate, else mixed symmetric noise from `seed`; `notes` say which.

    Args:
        name: "mirflickr", "nus-wide", "ms-coco", "iapr-tc12"; or "mirflickr-subset", 724 MIRFlickr pairs with
            image features of their own, split at random from `seed`; or "mirflickr-tags", the same with their tags as
            given labels of 21 concepts, where noise is drawn on top.
        folder: where the files lie. A file STAND-IN.txt there says that the features are made up.
        noise: share of the training rows whose labels are corrupted, in [0, 1].
        seed: an integer >= 0, of whatever is drawn at random.
        cache: folder for checksums and for float32 copies of what cannot be memory-mapped where it lies; by
            default .scbch-cache in `folder`.

    Raises:
        DataError: a file is missing, damaged or misshapen, or the cache folder cannot be written; the message
            lists what is expected and what was found.
        ValueError: any other argument is none of the above.
    """
    _check_arguments(name, noise, seed)
    folder = Path(folder)
    if name in SUBSETS:
        return load_subset(name, folder, noise, seed)
    return read_benchmark(name, BENCHMARKS[name], folder, noise, seed, Path(cache or folder / CACHE))


def read_benchmark(
    name: str, benchmark: Benchmark, folder: Path, noise: float, seed: int, cache: Path
) -> RetrievalData:
    """`load_benchmark` of a benchmark that is described by `benchmark`."""
    reader = Reader(cache)
    try:
        query, database = _read(benchmark, folder, reader)
        train = database[: benchmark.train]
        noisy, origin = _noisy_labels(benchmark, folder, reader, train.labels, noise, seed)
        sources = reader.sources
    except DataError as error:
        raise DataError(f"{benchmark.title}: {error}\n{_expected(benchmark, folder)}") from error
    stand_in = (folder / STAND_IN).exists()
    return RetrievalData(
        name=name,
        title=benchmark.title + (", stand-in features" if stand_in else ""),
        train=train.pairs(noisy),
        query=query.pairs(),
        database=database.pairs(),
        label_names=numbered_labels(benchmark.classes),
        sources=sources,
        stand_in=stand_in,
        notes={
            "split": f"the first {len(query)} rows are queries, the {len(database)} others the database, of which "
            f"the first {len(train)} are the training set",
            "noise": origin,
        },
    )


def _check_arguments(name: Any, noise: Any, seed: Any) -> None:
    one_of("name", name, NAMES)
    share("noise", noise)
    whole("seed", seed, 0)


def _read(benchmark: Benchmark, folder: Path, reader: Reader) -> tuple[Rows, Rows]:
    """Queries and database."""
    missing = [name for name in _files(benchmark) if not (folder / name).is_file()]
    if missing and (folder / benchmark.hdf5).is_file():
        return _read_hdf5(benchmark, folder / benchmark.hdf5, reader)
    if missing:
        raise DataError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in {folder}")
    sources = {
        prefix: (folder / arrays.file, arrays.keys, columns)
        for prefix, (arrays, columns) in benchmark.parts.items()
    }
    everything = _read_rows(reader, sources, lambda rows: _check_rows(benchmark, rows))
    return everything[: benchmark.query], everything[benchmark.query :]


def _read_hdf5(benchmark: Benchmark, path: Path, reader: Reader) -> tuple[Rows, Rows]:
    def side(name: str, check: Callable[[int], None], first: int = 0) -> Rows:
        sources = {
            prefix: (path, (prefix + name,), columns) for prefix, (_, columns) in benchmark.parts.items()
        }
        return _read_rows(reader, sources, check, first)

    def check_query(rows: int) -> None:
        if rows != benchmark.query:
            raise DataError(f"LabQuery in {path} must have {benchmark.query} rows, got {rows}")

    query = side("Query", check_query)
    database = side("DataBase", lambda rows: _check_rows(benchmark, len(query) + rows), len(query))
    train = database[: benchmark.train]
    labels = np.concatenate(reader.labels(path, ("LabTrain",), benchmark.classes))
    for key, same in (
        ("LabTrain", np.array_equal(labels, train.labels)),
        ("TagTrain", reader.repeats(path, "TagTrain", train.text)),
        ("ImgTrain", reader.repeats(path, "ImgTrain", train.image)),
    ):
        if not same:
            raise DataError(f"{key} in {path} must be the first {len(train)} rows of {key[:3]}DataBase")
    return query, database


def _read_rows(
    reader: Reader,
    sources: Mapping[str, tuple[Path, tuple[str, ...], int]],
    check: Callable[[int], None],
    first: int = 0,
) -> Rows:
    """Labels, whose number `check` looks at, and the features of as many rows; `first` numbers the first."""
    labels = reader.labels(*sources["Lab"])
    rows = [len(part) for part in labels]
    check(sum(rows))
    text, image = (reader.features(*sources[prefix], rows) for prefix in ("Tag", "Img"))
    return Rows(image, text, np.concatenate(labels), np.arange(first, first + sum(rows)))


def _check_rows(benchmark: Benchmark, rows: int) -> None:
    if benchmark.rows is not None and rows != benchmark.rows:
        raise DataError(f"{benchmark.title} has {benchmark.rows} rows, got labels of {rows}")
    least = benchmark.query + benchmark.train
    if rows <= least:
        raise DataError(
            f"there must be more rows than the {benchmark.query} queries and the {benchmark.train} training rows, "
            f"{least} in all; got labels of {rows}"
        )


def _noisy_labels(
    benchmark: Benchmark, folder: Path, reader: Reader, clean: NDArray[np.uint8], noise: float, seed: int
) -> tuple[NDArray[np.uint8], str]:
    """The training labels, and where their noise comes from."""
    if noise == 0:
        return clean, "none"
    path = folder / benchmark.noise.format(rate=float(noise))
    if not path.exists():
        return mixed_symmetric(clean, noise, seed).labels, generated(noise, seed)
    true, noisy = reader.labels(path, ("True", "result"), benchmark.classes)
    for key, labels in (("True", true), ("result", noisy)):
        if labels.shape != clean.shape:
            raise DataError(f"{key} of {path.name} must have shape {clean.shape}, got {labels.shape}")
    wrong = (true != clean).any(axis=1)
    if wrong.any():
        raise DataError(
            f"True of {path.name} must be the clean training labels, but {wrong.sum()} rows differ, the first of "
            f"them row {wrong.argmax()} of the training set: the file belongs to other labels or another split"
        )
    corrupted = (noisy != clean).any(axis=1).sum()
    return noisy, f"published: {path.name}, {corrupted} of {len(clean)} training rows differ"


def _files(benchmark: Benchmark) -> list[str]:
    return list(dict.fromkeys(arrays.file for arrays, _ in benchmark.parts.values()))


def _expected(benchmark: Benchmark, folder: Path) -> str:
    """What belongs into the folder, and what is there."""
    total = benchmark.rows or "n"
    rest = benchmark.rows - benchmark.query if benchmark.rows else f"n - {benchmark.query}"
    kinds = ("labels, 0/1", f"text features, {benchmark.text_kind}", "VGG19 image features")
    lines = [
        f"  {arrays.file}: {' then '.join(arrays.keys)} ({total}, {columns}), {kind}"
        for (arrays, columns), kind in zip(benchmark.parts.values(), kinds, strict=True)
    ]
    own = [
        ", ".join(f"{prefix}{side} ({rows}, {columns})" for prefix, (_, columns) in benchmark.parts.items())
        for side, rows in (("Train", benchmark.train), ("Query", benchmark.query), ("DataBase", rest))
    ]
    return "\n".join(
        [
            f"Expected in {folder}, named as the cross-modal hashing community passes them on "
            "(.mat of MATLAB 5 or 7.3, or HDF5):",
            *lines,
            f"or, as the SCBCH authors' code keeps it, {benchmark.hdf5} with",
            *(f"  {line}" for line in own),
            "and, if the published noisy labels are wanted rather than noise from a seed,",
            f"  {benchmark.noise.format(rate='RATE')}: result and True ({benchmark.train}, {benchmark.classes})",
            f"Found there: {listing(folder)}",
        ]
    )
