"""What a training run is asked to do: a TOML file or flags, checked, and stored resolved with the run."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from scbch_keras.checks import flag, number, one_of, share, text, whole, widths
from scbch_keras.methods import VARIANTS
from scbch_keras.methods.paper import BENCHMARKS
from scbch_keras.training.environment import BACKENDS

# The authors' settings by benchmark, and those of the small sets beside them.
_NARROW = {"image_units": (1024, 1024), "text_units": (1024,)}
SETTINGS: dict[str, dict[str, Any]] = {
    **{
        name: {
            "image_units": (8192, 8192),
            "text_units": (8192,),
            **{key: value for key, value in settings.items() if key != "num_classes"},
        }
        for name, settings in BENCHMARKS.items()
    },
    "mirflickr-subset": _NARROW,
    "mirflickr-tags": _NARROW,
    "icons": {**_NARROW, "learning_rate": 3e-4, "epochs": 12},
    "icons-regular": {"image_units": (256, 256), "text_units": (256,), "learning_rate": 3e-4},
}


@dataclass(frozen=True)
class Recipe:
    """A training run, resolved. What is None follows from the data or from the backend that is installed."""

    data: str
    """A name of `SETTINGS`, or the path of the user's own data."""
    folder: str | None = None
    """Where a benchmark's files are."""
    backend: str | None = None
    seed: int = 0
    noise: float = 0.0
    bits: int = 64
    variant: str = "full"
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-4
    warmup_epochs: int = 5
    neighbors: int = 20
    margin: float = 0.15
    shift: float = 0.8
    alpha: float = 0.7
    beta: float = 0.3
    gamma: float = 0.5
    l2: float = 1e-5
    image_units: tuple[int, ...] = (1024, 1024)
    text_units: tuple[int, ...] = (1024,)
    evaluate_every: int = 1
    queries: float = 0.1
    """Own data without a split: this share (below 1) or number of rows is held out as queries."""
    separator: str = ";"
    image_features: str | None = None
    """Own pictures: a backbone, see `scbch features`."""
    image_weights: str | None = None
    text_features: str = "bow"
    graded: bool | None = None
    """Whether metrics of relevance in degrees are measured too."""
    checked: str | None = None
    """A file of rows whose labels were checked by hand (`scbch_keras.training.data.own.checked`); posterior labels."""

    def __post_init__(self) -> None:
        for name in ("data", "separator", "text_features"):
            text(name, getattr(self, name))
        for name in ("folder", "image_features", "image_weights", "checked"):
            if getattr(self, name) is not None:
                text(name, getattr(self, name))
        for name in ("seed", "warmup_epochs"):
            whole(name, getattr(self, name), 0)
        for name in ("bits", "epochs", "batch_size", "neighbors", "evaluate_every"):
            whole(name, getattr(self, name), 1)
        for name in ("learning_rate", "queries"):
            number(name, getattr(self, name), 0, above=True)
        for name in ("alpha", "beta", "l2"):
            number(name, getattr(self, name), 0)
        for name in ("margin", "shift"):
            number(name, getattr(self, name))
        for name in ("noise", "gamma"):
            share(name, getattr(self, name))
        for name in ("image_units", "text_units"):
            widths(name, getattr(self, name))
        if self.graded is not None:
            flag("graded", self.graded)
        one_of("variant", self.variant, VARIANTS)
        one_of("backend", self.backend, BACKENDS, optional=True)

    @property
    def is_named(self) -> bool:
        """Whether the data is a named set, not the user's own."""
        return self.data in SETTINGS

    def model_settings(self) -> dict[str, Any]:
        """The arguments of the variant's model that are numbers and switches."""
        variant = VARIANTS[self.variant]
        return {
            "bits": self.bits,
            **{name: getattr(self, name) for name in variant.takes},
            **variant.settings,
        }

    def as_dict(self) -> dict[str, Any]:
        """All settings as JSON and TOML hold them, without those that are None."""
        settings = ((name, value) for name, value in asdict(self).items() if value is not None)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in settings}


def resolve(file: Path | None = None, **flags: Any) -> Recipe:
    """A recipe from the named set's settings, over them the TOML file's, over them the flags that are not None.

    Raises:
        ValueError: an unknown setting, a value of another type or out of range, or no data named.
    """
    stored = _read_toml(file) if file is not None else {}
    given = {**stored, **{name: value for name, value in flags.items() if value is not None}}
    known = {field.name for field in fields(Recipe)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if "data" not in given:
        raise ValueError("data: name a data set or the path of your own data")
    text("data", given["data"])
    defaults = SETTINGS.get(given["data"], {})
    lists = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    recipe = Recipe(**{**defaults, **lists})
    share = VARIANTS[recipe.variant].warmup_share
    if share is None or "warmup_epochs" in given:
        return recipe
    return replace(recipe, warmup_epochs=round(share * recipe.epochs))


def _read_toml(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"config: there is no file {file}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, nested out of reason
        raise ValueError(f"config: {file} is not a TOML file: {error}") from error
