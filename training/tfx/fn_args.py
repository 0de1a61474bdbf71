"""TFX's FnArgs, checked: what `run_fn` is asked to do."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import keras

from scbch_keras.export.format import manifest as manifests
from scbch_keras.training.runs.recipe import Recipe, resolve
from scbch_keras.training.tfx.examples import FEATURES

CONFIG = "scbch_keras"
"""Key of `custom_config` with what is meant for this package; other keys are another's."""
_CONFIG_KEYS = ("features", "formats", "label_names", "settings")
# Of a recipe: what says where data comes from and what is done to it, which here the Examples say.
_OF_DATA = {
    *("data", "folder", "noise", "queries", "separator", "columns"),
    *("image_features", "image_weights", "text_features", "tokens", "checked"),
}
SETTINGS = {field.name for field in fields(Recipe)} - _OF_DATA - {"backend"}
_TUNERS_OWN = "tuner/"


@dataclass(frozen=True)
class Arguments:
    """Arguments of `run_fn`, which has their meaning."""

    train_files: Any
    eval_files: Any
    train_steps: int | None
    eval_steps: int | None
    model_run_dir: Path
    served: tuple[Path, ...]
    """serving_model_dir, and eval_model_dir where it is given."""
    base_model: Path | None
    names: dict[str, str]
    """What "image", "text" and "labels" are called in an Example."""
    label_names: Any
    formats: tuple[str, ...]
    recipe: Recipe
    """Its epochs hold where train_steps is None."""

    @classmethod
    def of(cls, fn_args: Any) -> "Arguments":
        """Those of an object with FnArgs' attributes. Patterns and label names are not checked yet.

        Raises ValueError for one that is wrong, by its name.
        """
        names = "train_files eval_files train_steps eval_steps serving_model_dir eval_model_dir model_run_dir"
        names += " base_model hyperparameters custom_config"
        values = {name: getattr(fn_args, name, None) for name in names.split()}
        config = _config(values["custom_config"])
        optional = [name for name in ("eval_model_dir", "base_model") if values[name]]
        paths = {
            name: _local_path(name, values[name])
            for name in ("model_run_dir", "serving_model_dir", *optional)
        }
        steps = {name: _steps(name, values[name]) for name in ("train_steps", "eval_steps")}
        return cls(
            train_files=values["train_files"],
            eval_files=values["eval_files"],
            **steps,
            model_run_dir=paths["model_run_dir"],
            served=tuple(paths[name] for name in ("serving_model_dir", "eval_model_dir") if name in paths),
            base_model=paths.get("base_model"),
            names={name: name for name in FEATURES} | dict(config.get("features") or {}),
            label_names=config.get("label_names"),
            formats=tuple(config.get("formats", manifests.FORMATS)),
            recipe=_recipe(values, config.get("settings") or {}),
        )


def _local_path(name: str, value: Any) -> Path:
    if not isinstance(value, str | os.PathLike) or not value or "://" in str(value):
        raise ValueError(f"{name}: expected a local path, got {value!r}")
    return Path(value)


def _steps(name: str, value: Any) -> int | None:
    if value is None or (type(value) is int and value >= 0):
        return value or None
    raise ValueError(f"{name}: expected a number of batches, None or 0, got {value!r}")


def _config(custom_config: Any) -> Mapping[str, Any]:
    """What `custom_config` holds for this package, checked."""
    config = _dict(CONFIG, _dict("custom_config", custom_config).get(CONFIG))
    _check_known(CONFIG, config, _CONFIG_KEYS)
    for name, known in (("features", FEATURES), ("settings", SETTINGS)):
        _check_known(name, _dict(name, config.get(name)), known)
    for name, called in (config.get("features") or {}).items():
        if not isinstance(called, str) or not called:
            raise ValueError(f"features: expected the name of a feature for {name!r}, got {called!r}")
    formats = config.get("formats", manifests.FORMATS)
    known_formats = isinstance(formats, list | tuple) and set(formats) <= set(manifests.FORMATS)
    if not known_formats or "saved_model" not in formats:
        raise ValueError(
            f"formats: expected some of {manifests.FORMATS}, saved_model among them, got {formats!r}"
        )
    return config


def _dict(name: str, value: Any) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected a dict, got {value!r}")
    return value or {}


def _check_known(place: str, values: Mapping[str, Any], known: Any) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{place}: unknown name {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _recipe(values: Mapping[str, Any], stored: Mapping[str, Any]) -> Recipe:
    tuned = _values(values["hyperparameters"])
    _check_known("hyperparameters", tuned, SETTINGS)
    settings = {**stored, **tuned}
    if "epochs" in settings and values["train_steps"]:
        raise ValueError(
            f"epochs: expected epochs or train_steps, got both: {settings['epochs']!r} and {values['train_steps']!r}"
        )
    return resolve(data=str(values["train_files"]), backend=keras.backend.backend(), **settings)


def _values(hyperparameters: Any) -> dict[str, Any]:
    """Name -> value of a dict, of KerasTuner's HyperParameters, or of what its get_config gives."""
    values = hyperparameters or {}
    if not isinstance(values, Mapping):
        values = getattr(hyperparameters, "values", None)
    elif isinstance(values.get("values"), Mapping):
        values = values["values"]
    if not isinstance(values, Mapping):
        raise ValueError(f"hyperparameters: expected a dict or HyperParameters, got {hyperparameters!r}")
    return {name: value for name, value in values.items() if not name.startswith(_TUNERS_OWN)}
