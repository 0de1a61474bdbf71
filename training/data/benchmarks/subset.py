"""724 real MIRFlickr pairs with image features of their own: with clean labels, or with their tags as labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from scbch_keras.labels.matrix import check_labels
from scbch_keras.labels.noise import mixed_symmetric
from scbch_keras.training.data.benchmarks.files import DataError, Reader
from scbch_keras.training.data.benchmarks.rows import Rows, generated, listing, numbered_labels
from scbch_keras.training.data.benchmarks.tags import CONCEPTS, tagged
from scbch_keras.training.data.pairs import RetrievalData

CACHE = ".scbch-cache"
SUBSET, TAGS = "mirflickr-subset", "mirflickr-tags"
SUBSETS = {SUBSET: "724 pairs of MIRFlickr", TAGS: "724 pairs of MIRFlickr, their tags as labels"}
FILE = "mirflickr_subset_724.npz"
ROWS, QUERY = 724, 124
COLUMNS = {"image": 1280, "text": 1386, "label": 24}


def load_subset(name: str, folder: Path, noise: float, seed: int) -> RetrievalData:
    """`load_benchmark` of one of `SUBSETS`."""
    shapes: dict[str, tuple[int, ...]] = {key: (ROWS, width) for key, width in COLUMNS.items()}
    reader = Reader(folder / CACHE)
    try:
        arrays = reader.npz(folder / FILE, shapes)
        check_labels(f"label in {folder / FILE}", arrays["label"])
    except ValueError as error:
        wanted = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        raise DataError(
            f"{SUBSETS[name]}: {error}\nExpected in {folder}: {FILE} with {wanted}\n"
            f"Found there: {listing(folder)}"
        ) from error
    image = arrays["image"] / np.sqrt(np.mean(np.square(arrays["image"])))
    rng = np.random.default_rng(seed)
    order = rng.permutation(ROWS)
    text, labels = arrays["text"].astype(np.float32), arrays["label"].astype(np.uint8)
    given, names = labels, numbered_labels(COLUMNS["label"])
    notes = {}
    if name == TAGS:
        given, labels, text = tagged(arrays["text"], arrays["label"])
        names = tuple(CONCEPTS)
        notes["labels"] = "given: what the tags name; of queries and database: the true ones"
    everything = Rows(image.astype(np.float32), text, labels, np.arange(ROWS))
    query, train = (everything[rows].pairs() for rows in (order[:QUERY], order[QUERY:]))
    noisy = mixed_symmetric(given[order[QUERY:]], noise, rng).labels
    return RetrievalData(
        name=name,
        title=SUBSETS[name],
        train=replace(train, labels=noisy),
        query=query,
        database=train,
        label_names=names,
        sources=reader.sources,
        notes={
            "split": f"the first {QUERY} rows of seed {seed}'s permutation are queries, the others "
            "training set and database",
            "noise": "none" if noise == 0 else generated(noise, seed),
            "image": "features of a frozen EfficientNet-Lite0, over their root mean square",
            **notes,
        },
    )
