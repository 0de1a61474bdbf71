"""Files in a benchmark's form whose image features are made up: to try the commands out, and for tests."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from scbch_keras.files import replaced
from scbch_keras.labels.matrix import check_labels
from scbch_keras.training.data.benchmarks.sets import BENCHMARKS, STAND_IN, Benchmark

ROWS_AT_ONCE = 4096
LABEL_STRENGTH = 0.3
NOTICE = (
    "The image features in this folder are made up: random projections of the labels with noise. "
    "No result on them says anything about {title}.\n"
)


def write_stand_in(
    name: str, folder: str | os.PathLike[str], labels: NDArray[Any], text: NDArray[Any], seed: int
) -> Path:
    """Write a benchmark's files, with made-up image features, and STAND-IN.txt, which says so; returns `folder`.

    The features are float32 (n, 4096), not negative as VGG19's are after its ReLU, and tell a little about the
    labels. They stand in memory while they are written. Label and text files that are there already stay.

    Args:
        name: "mirflickr", "nus-wide", "ms-coco" or "iapr-tc12".
        folder: made if need be.
        labels: 0/1 (n, classes of the benchmark).
        text: (n, width of the benchmark's text features).
        seed: an integer >= 0.

    Raises:
        ValueError: another name, arrays that do not fit, or a folder with image features that are no stand-in.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"name must be one of {', '.join(BENCHMARKS)}, got {name!r}")
    benchmark, folder = BENCHMARKS[name], Path(folder)
    check_labels("labels", labels, benchmark.classes)
    if text.shape != (len(labels), benchmark.words):
        raise ValueError(f"text must have shape {(len(labels), benchmark.words)}, got {text.shape}")
    if (folder / benchmark.image.file).exists() and not (folder / STAND_IN).exists():
        raise ValueError(f"folder: {folder / benchmark.image.file} holds features that are no stand-in")
    folder.mkdir(parents=True, exist_ok=True)
    # first of all, so that made-up features never lie there unmarked
    (folder / STAND_IN).write_text(NOTICE.format(title=benchmark.title))
    for file, arrays in _contents(benchmark, stand_in_features(labels, seed), text, labels).items():
        if file == benchmark.image.file or not (folder / file).exists():
            _write(folder / file, arrays)
    return folder


def stand_in_features(labels: NDArray[Any], seed: int, columns: int = 4096) -> NDArray[np.float32]:
    """Labels 0/1 (n, C) -> float32 (n, columns), >= 0: a random projection of the labels, noise, ReLU."""
    rng = np.random.default_rng(seed)
    projection = LABEL_STRENGTH * rng.standard_normal((labels.shape[1], columns), np.float32)
    features = np.empty((len(labels), columns), np.float32)
    for start in range(0, len(labels), ROWS_AT_ONCE):
        block = features[start : start + ROWS_AT_ONCE]
        rng.standard_normal(out=block, dtype=np.float32)
        block += labels[start : start + ROWS_AT_ONCE].astype(np.float32) @ projection
        np.maximum(block, 0, out=block)
    return features


def _contents(
    benchmark: Benchmark, image: NDArray[Any], text: NDArray[Any], labels: NDArray[Any]
) -> dict[str, dict[str, NDArray[Any]]]:
    """The arrays of each file by key; two thirds of the rows go to the first key where there are two."""
    files: dict[str, dict[str, NDArray[Any]]] = {}
    cut = len(labels) * 2 // 3
    for (arrays, _), rows in zip(benchmark.parts.values(), (labels, text, image), strict=True):
        parts = [rows] if len(arrays.keys) == 1 else [rows[:cut], rows[cut:]]
        files.setdefault(arrays.file, {}).update(zip(arrays.keys, parts, strict=True))
    return files


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with replaced(path) as file:
        if path.suffix == ".mat":
            scipy.io.savemat(file, arrays)
        else:
            with h5py.File(file.name, "w") as hdf5:
                for key, array in arrays.items():
                    hdf5[key] = array
