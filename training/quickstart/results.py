"""What a quickstart found, as plain data: written to results.json, and all that the report is drawn from."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from pydantic.dataclasses import dataclass

from scbch_keras.files import stored_json
from scbch_keras.modalities import Direction
from scbch_keras.stored import FileKind, write_json
from scbch_keras.training.typed import EXACT, typed

STORED = FileKind("results of a quickstart", "format", (3,), "run the quickstart again")


@dataclass(frozen=True, config=EXACT)
class Settings:
    """Everything that decides the numbers, with the backend that computed them."""

    backend: str
    noise: float
    bits: int
    seed: int
    epochs: int
    warmup_epochs: int
    batch_size: int
    learning_rate: float
    neighbors: int
    image_units: tuple[int, ...]
    text_units: tuple[int, ...]
    picture_size: int
    icon_limit: int | None


@dataclass(frozen=True, config=EXACT)
class DataSummary:
    """Counts of the data set; the names are what could not be used."""

    icons: int
    training_icons: int
    training_pictures: int
    database_icons: int
    query_icons: int
    words: int
    categories: tuple[str, ...]
    labels_per_icon: float
    corrupted_icons: int
    unlabelled: tuple[str, ...]
    undrawable: tuple[str, ...]
    missing_pictures: int
    broken_pictures: int
    wordless_icons: int


@dataclass(frozen=True, config=EXACT)
class Run:
    """One training.

    Attributes:
        name: "full", "unweighted", "posterior" or "clean".
        map: mAP of each direction after the last epoch (expected over ties), in [0, 1].
        epochs: what was logged, by name, one number an epoch; None where a value was not finite.
        precision, recall: of each direction, after 1, 2, 3, 5, ... and at last all of the database.
        seconds: of training, with the evaluation after every epoch.
    """

    name: str
    map: dict[str, float]
    epochs: dict[str, tuple[float | None, ...]]
    precision: dict[str, tuple[float, ...]]
    recall: dict[str, tuple[float, ...]]
    seconds: float

    @property
    def mean_map(self) -> float:
        """Mean of both directions, as the paper's tables report it."""
        return sum(self.map.values()) / len(self.map)


@dataclass(frozen=True, config=EXACT)
class Suspect:
    """A training icon that the confidence weights doubt."""

    icon: str
    confidence: float
    given: tuple[str, ...]
    true: tuple[str, ...]
    corrupted: bool


@dataclass(frozen=True, config=EXACT)
class Confidence:
    """Confidence weights of the full method on the training pictures.

    Attributes:
        corrupted: for each picture, whether its icon's labels were corrupted.
        first: weights that the first epoch after warm-up used; first_epoch is its number, from 1.
        last: weights that the last epoch used.
        separation: how often a corrupted icon has less confidence than a clean one, over all such pairs
            of icons (ties count half): 0.5 is chance, 1 is perfect. None without both kinds.
        found: among as many least-confident icons as were corrupted, the share that is; chance is the
            share of corrupted icons. None without corrupted icons.
        suspects: the icons of least confidence, lowest first.
    """

    corrupted: tuple[bool, ...]
    first: tuple[float, ...]
    last: tuple[float, ...]
    first_epoch: int
    separation: float | None
    found: float | None
    suspects: tuple[Suspect, ...]


@dataclass(frozen=True, config=EXACT)
class Posterior:
    """What was estimated of the training icons' labels before any training.

    Attributes:
        noise_rate: the estimated share of icons with wrong labels.
        wrong: how often a wrong label is less probable than a right one, over all pairs of given labels (ties
            count half). None without both kinds.
        missing: how often a label that was taken away is more probable than one that never was there, over all
            pairs of labels that are not given. None without both kinds.
    """

    noise_rate: float
    wrong: float | None
    missing: float | None


@dataclass(frozen=True, config=EXACT)
class Hit:
    """One retrieved icon: its Hamming distance, and the categories that it shares with the query."""

    icon: str
    distance: int
    shared: tuple[str, ...]


@dataclass(frozen=True, config=EXACT)
class Search:
    """One query, by the words ("t2i") or the picture ("i2t") of a held-out icon; nearest hits first.

    words: those of the icon that the model knows, in the order of its name and tags.
    """

    direction: Direction
    icon: str
    words: tuple[str, ...]
    hits: tuple[Hit, ...]


@dataclass(frozen=True, config=EXACT)
class Served:
    """What the fresh process found, which had numpy and onnxruntime but no keras.

    Attributes:
        codes: codes compared with the model's own.
        bits: bits in all of them.
        equal: bits that are the same.
        near_zero: bits that differ where the model's coordinate is within `tolerance` of zero, the only
            place where float error decides a bit. Other differences are an error, not a result.
        seconds: of encoding, indexing and searching, without the start of the process.
    """

    release: str
    codes: int
    bits: int
    equal: int
    near_zero: int
    tolerance: float
    seconds: float


@dataclass(frozen=True, config=EXACT)
class Icon:
    """An icon as the report shows it."""

    svg: str
    description: str
    categories: tuple[str, ...]


@dataclass(frozen=True, config=EXACT)
class Example:
    """One training icon as the model sees it: a PNG of each weight (base64), and its known words."""

    icon: str
    pictures: dict[str, str]
    words: tuple[str, ...]


@dataclass(frozen=True, config=EXACT)
class Results:
    """Everything: settings, versions, every metric by epoch, and what the report shows.

    released: name of the run whose model was released and did the shown searches.
    """

    settings: Settings
    versions: dict[str, str]
    data: DataSummary
    random_map: dict[str, float]
    random_precision: dict[str, float]
    runs: tuple[Run, ...]
    released: str
    confidence: Confidence
    posterior: Posterior
    served: Served
    searches: tuple[Search, ...]
    example: Example
    icons: dict[str, Icon]
    seconds: float

    def run(self, name: str) -> Run:
        """The run called `name`."""
        return next(run for run in self.runs if run.name == name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as JSON, all or nothing."""
        write_json(Path(path), STORED.marked(asdict(self)), indent=1, end="\n")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Results":
        """Read what `save` wrote.

        Raises:
            ValueError: the file holds something else.
        """
        with STORED.reading(path):
            content = STORED.unmarked(stored_json(Path(path)))
            return typed(Results, json.dumps(content).encode())
