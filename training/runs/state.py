"""What run.json holds, checked: a run's folder may come from anywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scbch_keras.files import file_in, stored_json
from scbch_keras.training.runs.recipe import resolve

FORMAT = 1
STATUSES = ("preparing", "running", "finished")


class RunError(ValueError):
    """The folder is not a run, is half written, in use, or is not the run that was asked for."""


def read_state(file: Path) -> dict[str, Any]:
    """The content of run.json. RunError, with the field, if it is damaged or names files outside of its folder."""
    remedy = "take the folder from a backup, or train anew in another one"
    try:
        state = stored_json(file)
    except (OSError, ValueError) as error:
        raise RunError(f"{file} is damaged: {error}; {remedy}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunError(f"{file}: expected a run in format {FORMAT}")
    for name, (expected, fits) in _FIELDS.items():
        if name not in state or not fits(state[name]):
            shown = ascii(state.get(name))[:80]
            raise RunError(f"{file} is damaged: expected {name} to be {expected}, got {shown}; {remedy}")
    try:
        recipe = resolve(**state["recipe"])
    except (ValueError, TypeError) as error:
        raise RunError(f"{file} is damaged: recipe: {error}; {remedy}") from error
    if len(state["history"]) > recipe.epochs:
        raise RunError(f"{file} is damaged: expected history to have up to {recipe.epochs} epochs; {remedy}")
    if state["status"] != "preparing" and state["data"] is None:
        raise RunError(f"{file} is damaged: expected data to be an object; {remedy}")
    if state["status"] == "finished" and not isinstance(state.get("metrics"), dict):
        raise RunError(f"{file} is damaged: expected metrics to be an object; {remedy}")
    if state["history"] and state["status"] != "finished" and state["model"] is None:
        raise RunError(f"{file} is damaged: {len(state['history'])} epochs, and no model file; {remedy}")
    if state["model"] is not None:
        try:
            file_in(file.parent, state["model"])
        except FileNotFoundError:
            raise RunError(
                f"{file.parent}: the run's model file {state['model']} is missing; {remedy}"
            ) from None
        except ValueError as error:
            raise RunError(f"{file} is damaged: model: {error}; {remedy}") from error
    return state


def _is_epochs(history: Any) -> bool:
    return isinstance(history, list) and all(
        isinstance(epoch, dict)
        and type(epoch.get("epoch")) is int
        and epoch["epoch"] == number
        and all(value is None or type(value) in (int, float) for value in epoch.values())
        for number, epoch in enumerate(history, 1)
    )


def _is_data(data: Any) -> bool:
    if data is None:
        return True
    return (
        isinstance(data, dict)
        and isinstance(data.get("title"), str)
        and isinstance(data.get("stand_in"), bool)
        and isinstance(data.get("label_names"), list)
        and all(isinstance(name, str) for name in data["label_names"])
        and isinstance(data.get("sources"), list)
        and all(
            isinstance(source, dict)
            and all(isinstance(source.get(name), str) for name in ("name", "sha256"))
            and isinstance(source.get("arrays"), dict)
            for source in data["sources"]
        )
    )


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "recipe": ("an object", lambda value: isinstance(value, dict)),
    "data": ("null, or an object with title, label_names and sources", _is_data),
    "history": ("a list with an object of numbers an epoch", _is_epochs),
    "model": ("null or the name of a file", lambda value: value is None or isinstance(value, str)),
    "status": (f"one of {', '.join(STATUSES)}", lambda value: value in STATUSES),
    "versions": ("an object", lambda value: isinstance(value, dict)),
    "seconds": ("a number", lambda value: type(value) in (int, float) and 0 <= value < 1e12),
}
