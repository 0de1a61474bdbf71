"""What run.json holds, checked: a run's folder may come from anywhere."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from scbch_keras.files import file_in, loads, opened
from scbch_keras.stored import FileKind
from scbch_keras.training.runs.recipe import resolve
from scbch_keras.training.typed import STRICT, Natural, Seconds, typed

STORED = FileKind("a run", "format", (1,))


class RunError(ValueError):
    """The folder is not a run, is half written, in use, or is not the run that was asked for."""


def _numbered(history: list[dict[str, float | None]]) -> list[dict[str, float | None]]:
    for place, epoch in enumerate(history, 1):
        if epoch.get("epoch") != place:
            raise ValueError(f"history: expected epoch {place} in its place, got {epoch.get('epoch')}")
    return history


@dataclass(config=STRICT)
class _Source:
    name: str
    sha256: str
    arrays: dict[str, Any]


@dataclass(config=STRICT)
class _Data:
    title: str
    stand_in: bool
    label_names: list[str]
    sources: list[_Source]


@dataclass(config=STRICT)
class _State:
    recipe: dict[str, Any]
    data: _Data | None
    history: Annotated[list[dict[str, float | None]], AfterValidator(_numbered)]
    model: str | None
    status: Literal["preparing", "running", "finished"]
    versions: dict[str, Any]
    seconds: Seconds
    metrics: dict[str, Any] | None = None
    cpu_seconds: Seconds | None = None
    peak_memory: Natural | None = None


def read_state(file: Path) -> dict[str, Any]:
    """The content of run.json. RunError, with the field, if it is damaged or names files outside of its folder."""
    remedy = "take the folder from a backup, or train anew in another one"
    try:
        with opened(file) as stored:
            content = stored.read()
        state: dict[str, Any] = loads(content)
        STORED.unmarked(state)
        _check(typed(_State, content))
        if state["model"] is not None:
            file_in(file.parent, state["model"])
    except FileNotFoundError as error:
        raise RunError(f"the run's model file is missing: {error}; {remedy}") from error
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{file} is damaged: {error}; {remedy}") from error
    return state


def _check(state: _State) -> None:
    epochs = resolve(**state.recipe).epochs
    if len(state.history) > epochs:
        raise ValueError(f"history: expected up to {epochs} epochs, got {len(state.history)}")
    if state.status != "preparing" and state.data is None:
        raise ValueError("data must be an object; got None.")
    if state.status == "finished" and state.metrics is None:
        raise ValueError("metrics must be an object; got None.")
    if state.history and state.status != "finished" and state.model is None:
        raise ValueError(f"model: {len(state.history)} epochs, and no model file")
