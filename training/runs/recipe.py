"""What a training run is asked to do: a TOML file or flags, checked, and stored resolved with the run."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic.dataclasses import dataclass

from scbch_keras.checks import one_of, text
from scbch_keras.files import read_bytes
from scbch_keras.methods import VARIANTS
from scbch_keras.preprocessing.normalization import rule_of
from scbch_keras.training.data.own.columns import parsed
from scbch_keras.training.environment import BACKENDS
from scbch_keras.training.runs.named import PRECISIONS, SETTINGS
from scbch_keras.training.typed import (
    EXACT,
    Count,
    Flag,
    Natural,
    NotNegative,
    Number,
    Positive,
    Share,
    Text,
    Widths,
    by,
    typed,
)


def _columns(name: str, value: Any) -> Any:
    if value is not None:
        parsed(text(name, value))
    return value


def _tokens(name: str, value: Any) -> Any:
    if value is not None:
        rule_of(value)
    return value


@dataclass(frozen=True, config=EXACT)
class Recipe:
    """A training run, resolved. What is None follows from the data or from the backend that is installed."""

    data: Text
    """A name of `SETTINGS`, or the path of the user's own data."""
    folder: Text | None = None
    """Where a benchmark's files are."""
    backend: Annotated[str | None, by(one_of, BACKENDS, optional=True)] = None
    seed: Natural = 0
    noise: Share = 0.0
    bits: Count = 64
    variant: Annotated[str, by(one_of, VARIANTS)] = "full"
    epochs: Count = 50
    batch_size: Count = 128
    learning_rate: Positive = 1e-4
    warmup_epochs: Natural = 5
    neighbors: Count = 20
    margin: Number = 0.15
    shift: Number = 0.8
    alpha: NotNegative = 0.7
    beta: NotNegative = 0.3
    gamma: Share = 0.5
    l2: NotNegative = 1e-5
    image_units: Widths = (1024, 1024)
    text_units: Widths = (1024,)
    evaluate_every: Count | None = None
    """Epochs from one evaluation to the next; None: 1, or more where far more rows are encoded than train."""
    queries: Positive = 0.1
    """Own data without a split: this share (below 1) or number of rows is held out as queries."""
    separator: Text = ";"
    columns: Annotated[str | None, by(_columns)] = None
    """Own data: which of its columns are ours, as `read_own` takes them."""
    image_features: Text | None = None
    """Own pictures: a backbone, see `scbch features`."""
    image_weights: Text | None = None
    text_features: Text = "bow"
    tokens: Annotated[str | None, by(_tokens)] = None
    """Own texts: "words", or n-grams of characters, "characters:2-3"; None: words."""
    precision: Annotated[str | None, by(one_of, PRECISIONS, optional=True)] = None
    """Of the products in training: None is float32; weights, codes and losses always are."""
    graded: Flag | None = None
    """Whether metrics of relevance in degrees are measured too."""
    checked: Text | None = None
    """A table of rows that were checked by hand (`scbch_keras.training.data.own.checked`), for posterior labels."""

    @property
    def normalization(self) -> str:
        """The rule by which texts are parted."""
        return rule_of(self.tokens or "words")

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
    values = {**stored, **{name: value for name, value in flags.items() if value is not None}}
    if "data" not in values:
        raise ValueError("data: name a data set or the path of your own data")
    defaults = SETTINGS.get(values["data"], {}) if isinstance(values["data"], str) else {}
    recipe = typed(Recipe, {**defaults, **values})
    share = VARIANTS[recipe.variant].warmup_share
    if share is None or "warmup_epochs" in values:
        return recipe
    return replace(recipe, warmup_epochs=round(share * recipe.epochs))


_LONGEST = 2**20
"""Bytes of a file of settings."""


def _read_toml(file: Path) -> Mapping[str, Any]:
    try:
        stored = tomllib.loads(read_bytes(file, _LONGEST).decode())
    except FileNotFoundError:
        raise ValueError(f"config: there is no file {file}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, nested out of reason
        raise ValueError(f"config: {file} is not a TOML file: {error}") from error
    typed(Recipe, {"data": "flags may name it", **stored}, f"config: {file}: ")
    return stored
