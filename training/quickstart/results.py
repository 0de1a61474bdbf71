"""What a quickstart found, as plain data: written to results.json, and all that the report is drawn from."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from scbch_keras.files import replaced
from scbch_keras.modalities import Direction

FORMAT = 3


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Suspect:
    """A training icon that the confidence weights doubt."""

    icon: str
    confidence: float
    given: tuple[str, ...]
    true: tuple[str, ...]
    corrupted: bool


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Hit:
    """One retrieved icon: its Hamming distance, and the categories that it shares with the query."""

    icon: str
    distance: int
    shared: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """One query, by the words ("t2i") or the picture ("i2t") of a held-out icon; nearest hits first.

    words: those of the icon that the model knows, in the order of its name and tags.
    """

    direction: Direction
    icon: str
    words: tuple[str, ...]
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Icon:
    """An icon as the report shows it."""

    svg: str
    description: str
    categories: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One training icon as the model sees it: a PNG of each weight (base64), and its known words."""

    icon: str
    pictures: dict[str, str]
    words: tuple[str, ...]


@dataclass(frozen=True)
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
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        with replaced(Path(path)) as file:
            file.write((json.dumps(content, indent=1, allow_nan=False) + "\n").encode())

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Results":
        """Read what `save` wrote.

        Raises:
            ValueError: the file holds something else.
        """
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"path: expected results of a quickstart in format {FORMAT}, got {path}")
        results: Results = _build(Results, content)
        return results


def _build(kind: Any, value: Any) -> Any:
    """`value`, fresh from JSON, as the annotated type `kind`."""
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        if not isinstance(value, dict) or value.keys() != hints.keys():
            raise ValueError(f"expected the fields {sorted(hints)} of {kind}, got {value!r:.80}")
        return kind(**{name: _build(hint, value[name]) for name, hint in hints.items()})  # type: ignore[operator]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in value)
    if origin is dict:
        return {name: _build(arguments[1], item) for name, item in value.items()}
    if origin is UnionType:
        return None if value is None else _build(arguments[0], value)
    return value
