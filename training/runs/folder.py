"""A run on disk: one JSON file that is replaced as a whole, and the arrays and the model beside it.

run.json            recipe, data, versions, history, cost, and which model file belongs to it
run.toml            the resolved recipe, ready for `scbch train --config`
checkpoint-N.keras  after N epochs, while the run lasts; model.keras once it is finished
*.npy               what the figures and the audit need
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from scbch_keras.export.releasing.locks import held_alone
from scbch_keras.files import NO_ROOM, hidden_sibling, replaced, sync
from scbch_keras.stored import write_json
from scbch_keras.training.data.pairs import RetrievalData
from scbch_keras.training.runs.recipe import Recipe, resolve
from scbch_keras.training.runs.state import STORED, RunError, read_state

__all__ = ["LOCK", "POSTERIOR", "STATE", "RunError", "RunFolder", "describe_data", "held_by_this_process"]

STATE, RECIPE = "run.json", "run.toml"
POSTERIOR = "posterior.npz"
LOCK = ".run.lock"


@contextmanager
def held_by_this_process(folder: Path, what: str) -> Iterator[None]:
    """Keep all other processes from writing to a folder. The lock of a process that has ended holds nobody.

    Raises:
        RunError: another one is at it.
    """
    with held_alone(folder / LOCK) as alone:
        if not alone:
            raise RunError(
                f"{folder}: another process is at work on this {what}; wait until it ends, or stop it"
            )
        yield


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
        if path.exists() and (not path.is_dir() or not _is_new(path)):
            raise RunError(f"{path}: expected a new or empty folder; resume the run in it, or name another")
        path.mkdir(parents=True, exist_ok=True)
        if (path / RECIPE).exists():
            (path / RECIPE).replace(path / f"before-{RECIPE}")
        state: dict[str, Any] = {
            "status": "preparing",
            "recipe": recipe.as_dict(),
            "data": None,
            "versions": dict(versions),
            "history": [],
            "model": None,
            "seconds": 0.0,
        }
        run = cls(path, STORED.marked(state))
        # First of all what makes it a run: killed at any moment, the folder is one, or as good as empty.
        run.save_state()
        run._save_recipe()
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """A run that is there.

        Raises:
            RunError: no run.json, one that is damaged, of another format, or a model file that is missing.
        """
        file = path / STATE
        if not file.is_file():
            begun = path.is_dir() and _is_new(path)
            hint = "; it holds no run yet: start it without resuming" if begun else ""
            raise RunError(f"{path}: expected a run's folder, with {STATE} in it{hint}")
        run = cls(path, read_state(file))
        if not (path / RECIPE).exists():
            run._save_recipe()
        return run

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

    @property
    def begun(self) -> bool:
        """Whether its data was opened and found good."""
        return bool(self.state["status"] != "preparing")

    def check_finished(self) -> None:
        """Refuse a run of which epochs are left. RunError says how to go on."""
        if not self.finished:
            raise RunError(
                f"{self.path}: the run is not finished, {self.epochs_done} of {self.recipe.epochs} epochs are done: "
                f"resume it, scbch train --resume --out {self.path}"
            )

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

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from training this run; drop what a killed one left.

        Raises:
            RunError: another process trains it, or has trained it since it was opened.
        """
        with held_by_this_process(self.path, "run"):
            if read_state(self.path / STATE) != json.loads(json.dumps(self.state)):
                raise RunError(f"{self.path}: another process went on with this run; open it again")
            for left in self.path.glob(".*-*"):
                if left.name != LOCK and left.is_file():
                    left.unlink()
            yield

    def _save_recipe(self) -> None:
        with replaced(self.path / RECIPE) as file:
            file.write(tomli_w.dumps(self.state["recipe"]).encode())

    def save_state(self) -> None:
        """Replace run.json."""
        write_json(self.path / STATE, self.state, indent=1)

    def save_model(self, model: Any, name: str) -> None:
        """Write the model, make run.json name it, then drop the file it named before."""
        before, beside = self.state["model"], hidden_sibling(self.path / name)
        try:
            model.save(beside)
            # On the disk before run.json names it: a power cut must not leave a run with an empty model.
            sync(beside)
            beside.replace(self.path / name)
            sync(self.path)
        except (OSError, RuntimeError, ValueError) as error:  # h5py tells a full disk by any of them
            free = shutil.disk_usage(self.path).free
            kept = f"{before} is still there" if before else "no earlier one is there"
            number = getattr(error, "errno", None)
            why = "" if number is not None and number not in NO_ROOM else ": make room and resume the run"
            message = f"{self.path / name} could not be written ({error}); {kept}, {free / 1e6:,.0f} MB are free{why}"
            raise OSError(number, message) from error
        finally:
            beside.unlink(missing_ok=True)
        self.state["model"] = name
        self.save_state()
        self._drop(before, name)

    def drop_model(self) -> None:
        """Keep the numbers of a run without its weights."""
        before, self.state["model"] = self.state["model"], None
        self.save_state()
        self._drop(before)

    def _drop(self, *names: str | None) -> None:
        """Delete the first of the names, if it is not the other."""
        before = names[0]
        if before is not None and before not in names[1:] and Path(before).name == before:
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
            reason = "a file was lost" if self.finished else "the run is not finished: resume it"
            raise RunError(f"{self.path}: {file.name} is missing; {reason}") from None
        except Exception as error:  # numpy raises nearly anything for a damaged file
            raise RunError(
                f"{file} is damaged: {error}; take it from a backup, or train the run anew"
            ) from error
        return values

    def has_array(self, name: str) -> bool:
        """Whether `name`.npy is there."""
        return (self.path / f"{name}.npy").is_file()

    def discard(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path)


def _is_new(folder: Path) -> bool:
    """Whether there is nothing but what a run leaves that was killed as it began."""
    names = {path.name for path in folder.iterdir()}
    return all(name in (RECIPE, LOCK) or name.startswith(f".{STATE}-") for name in names)


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
