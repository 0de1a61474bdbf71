"""A run on disk: one JSON file that is replaced as a whole, and the arrays and the model beside it.

run.json            recipe, data, versions, history, and which model file belongs to it
run.toml            the resolved recipe, ready for `scbch train --config`
checkpoint-N.keras  after N epochs, while the run lasts; model.keras once it is finished
*.npy               what the figures and the audit need
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from scbch_keras.files import hidden_sibling, replaced
from scbch_keras.training.data.pairs import RetrievalData
from scbch_keras.training.runs.recipe import Recipe, resolve

FORMAT = 1
STATE = "run.json"
POSTERIOR = "posterior.npz"


class RunError(ValueError):
    """The folder is not a run, is half written, or is not the run that was asked for."""


@dataclass
class RunFolder:
    """An open run. `state` is what run.json holds; `save_state` is what makes a change last."""

    path: Path
    state: dict[str, Any]

    @classmethod
    def create(cls, path: Path, recipe: Recipe, versions: Mapping[str, str]) -> "RunFolder":
        """A new run in a folder that is new or empty, before its data is opened.

        Raises:
            RunError: the path is a file, or the folder holds something.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path}: expected a new or empty folder; resume the run in it, or name another")
        path.mkdir(parents=True, exist_ok=True)
        state = {
            "format": FORMAT,
            "status": "preparing",
            "recipe": recipe.as_dict(),
            "data": None,
            "versions": dict(versions),
            "history": [],
            "model": None,
            "seconds": 0.0,
        }
        run = cls(path, state)
        with replaced(path / "run.toml") as file:
            file.write(tomli_w.dumps(recipe.as_dict()).encode())
        run.save_state()
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """A run that is there.

        Raises:
            RunError: no run.json, one that is damaged, of another format, or a model file that is missing.
        """
        file = path / STATE
        if not file.is_file():
            raise RunError(f"{path}: expected a run's folder, with {STATE} in it")
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
            whole = state["format"] == FORMAT and set(state) >= {
                "recipe",
                "data",
                "history",
                "model",
                "status",
            }
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{file} is damaged: {error}") from error
        if not whole:
            raise RunError(f"{file}: expected a run in format {FORMAT}")
        if state["model"] is not None and not (path / state["model"]).is_file():
            raise RunError(f"{path}: the run's model file {state['model']} is missing")
        return cls(path, state)

    @property
    def recipe(self) -> Recipe:
        """The settings it was started with."""
        return resolve(**self.state["recipe"])

    @property
    def epochs_done(self) -> int:
        """Epochs that the model file has behind it."""
        return len(self.state["history"])

    @property
    def finished(self) -> bool:
        """Whether all epochs were trained and everything was written."""
        return self.state["status"] == "finished"

    def begin(self, data: RetrievalData) -> None:
        """Note the data; where the run began before, refuse other data.

        Raises:
            RunError: the files are not those that the run began with.
        """
        if self.state["data"] is not None:
            self.check_data(data)
            return
        self.state["data"] = describe_data(data)
        self.state["status"] = "running"
        self.save_state()

    def check_data(self, data: RetrievalData) -> None:
        """Refuse other data than the run began with."""
        then, now = self.state["data"]["sources"], describe_data(data)["sources"]
        if then != now:
            raise RunError(
                f"{self.path}: the data is not the run's: expected the files {_names(then)}, found {_names(now)}"
            )

    def save_state(self) -> None:
        """Replace run.json."""
        with replaced(self.path / STATE) as file:
            file.write(json.dumps(self.state, indent=1, allow_nan=False).encode())

    def save_model(self, model: Any, name: str) -> None:
        """Write the model, make run.json name it, then drop the file it named before."""
        before, beside = self.state["model"], hidden_sibling(self.path / name).with_suffix(".keras")
        try:
            model.save(beside)
            beside.replace(self.path / name)
        finally:
            beside.unlink(missing_ok=True)
        self.state["model"] = name
        self.save_state()
        if before not in (None, name):
            (self.path / before).unlink(missing_ok=True)

    def drop_model(self) -> None:
        """Keep the numbers of a run without its weights."""
        before, self.state["model"] = self.state["model"], None
        self.save_state()
        if before is not None:
            (self.path / before).unlink(missing_ok=True)

    def save_array(self, name: str, values: NDArray[Any]) -> None:
        """Write `name`.npy."""
        with replaced(self.path / f"{name}.npy") as file:
            np.save(file, values, allow_pickle=False)

    def array(self, name: str) -> NDArray[Any]:
        """Read `name`.npy.

        Raises:
            RunError: it is missing or damaged: the run is not finished, or files were lost.
        """
        file = self.path / f"{name}.npy"
        try:
            values: NDArray[Any] = np.load(file, allow_pickle=False)
        except FileNotFoundError:
            told = "a file was lost" if self.finished else "the run is not finished: resume it"
            raise RunError(f"{self.path}: {file.name} is missing; {told}") from None
        except (ValueError, OSError, EOFError) as error:
            raise RunError(f"{file} is damaged: {error}") from error
        return values

    def has_array(self, name: str) -> bool:
        """Whether `name`.npy is there."""
        return (self.path / f"{name}.npy").is_file()

    def discard(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path)


def describe_data(data: RetrievalData) -> dict[str, Any]:
    """What is stored of a data set with each result: names, sizes, files with their checksums."""
    return {
        "name": data.name,
        "title": data.title,
        "stand_in": data.stand_in,
        "label_names": list(data.label_names),
        "rows": {part: len(getattr(data, part)) for part in ("train", "query", "database")},
        "sources": [asdict(source) for source in data.sources],
        "notes": dict(data.notes),
    }


def _names(sources: list[dict[str, Any]]) -> str:
    return ", ".join(f"{source['name']} ({source['sha256'][:12]})" for source in sources) or "none"
