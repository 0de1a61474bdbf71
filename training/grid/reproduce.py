"""A grid of trainings, cell by cell: data sets x noise rates x code lengths x seeds x variants on one backend."""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from scbch_keras.files import explained_full_disk, sync
from scbch_keras.training.environment import versions
from scbch_keras.training.runs.folder import STATE, RunError, RunFolder, held_by_this_process
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import Recipe, resolve
from scbch_keras.training.runs.stopping import RunStopped, Stop, Stopping, stopped_by_signals
from scbch_keras.training.runs.train import epochs_told, train

CELLS = "cells.jsonl"


@dataclass(frozen=True)
class Grid:
    """What to run: every combination is a cell."""

    datasets: Sequence[str]
    noises: Sequence[float]
    bits: Sequence[int]
    seeds: Sequence[int]
    variants: Sequence[str]

    def recipes(self, **flags: Any) -> Iterator[Recipe]:
        """A recipe a cell; `flags` go into each."""
        for dataset, bits, variant, noise, seed in itertools.product(
            self.datasets, self.bits, self.variants, self.noises, self.seeds
        ):
            yield resolve(data=dataset, bits=bits, variant=variant, noise=noise, seed=seed, **flags)


def reproduce(
    recipes: Sequence[Recipe],
    out: Path,
    advance: Callable[[int, int, str], None] = lambda done, total, cell: None,
    progress: Callable[[int, int], None] = lambda epoch, epochs: None,
) -> Path:
    """Train every cell that is not in `out`/cells.jsonl yet, and add a line for each as it ends.

    Killed at any moment and started again, it goes on where it was: a finished cell is never run twice, a
    broken last line is dropped with the cell that it belonged to (which is then read from its run), and a cell
    in the middle goes on from its checkpoint.

    Args:
        recipes: of the cells, all on the backend of this process.
        out: folder of the grid: cells.jsonl, runs/ with a run a cell, without weights, and features/ of own pictures,
            computed once for all cells.
        advance: called with cells done, cells in all, and the cell that begins.
        progress: called with epochs done and epochs in all of the cell.

    Returns:
        The path of cells.jsonl.

    Raises:
        RunError: a cell's line or run was made with other settings or other data, or another process is at work
            on the grid.
        RunStopped: Ctrl-C or SIGTERM came; the same call goes on from the last finished epoch.
    """
    out.mkdir(parents=True, exist_ok=True)
    cells = out / CELLS
    with held_by_this_process(out, "grid"), stopped_by_signals() as stop:
        done = _finished(cells)
        for number, recipe in enumerate(recipes):
            name = cell_name(recipe)
            advance(number, len(recipes), name)
            if name in done:
                if done[name] != recipe:
                    raise RunError(
                        f"{cells}: the cell {name} was run with other settings; name another folder"
                    )
                continue
            if stop.is_set():
                raise RunStopped(f"stopped before the cell {name}", stop.number)
            try:
                run = _run(recipe, out / "runs" / name, out / "features", progress, stop)
                with stop.held():
                    _append(cells, _cell(run))
                keras.utils.clear_session()
            except Stopping:
                raise RunStopped(f"stopped in the cell {name}", stop.number) from None
    advance(len(recipes), len(recipes), "")
    return cells


def cell_name(recipe: Recipe) -> str:
    """What a cell is called: its coordinates in the grid."""
    data = Path(recipe.data).name
    return (
        f"{data}-{recipe.variant}-{recipe.bits}bits-noise{recipe.noise:g}-seed{recipe.seed}-{recipe.backend}"
    )


def _run(
    recipe: Recipe, path: Path, features: Path, progress: Callable[[int, int], None], stop: Stop
) -> RunFolder:
    if (path / STATE).is_file():
        run = RunFolder.open(path)
        if run.recipe != recipe:
            raise RunError(f"{path}: the run was begun with other settings; name another folder")
    else:
        run = RunFolder.create(path, recipe, versions(recipe.backend or ""))
    if not run.finished:
        data = open_data(recipe, path, features)
        train(
            run,
            data,
            verbose=0,
            keep_model=False,
            callbacks=[epochs_told(progress, recipe.epochs)],
            stop=stop,
        )
    return run


def _cell(run: RunFolder) -> dict[str, Any]:
    recipe, data = run.recipe, run.state["data"]
    checksums = "".join(source["sha256"] for source in data["sources"])
    history = [
        {{"i2t_map": "i2t", "t2i_map": "t2i"}.get(name, name): value for name, value in epoch.items()}
        for epoch in run.state["history"]
    ]
    return {
        "dataset": recipe.data,
        "title": data["title"],
        "stand_in": data["stand_in"],
        "noise": recipe.noise,
        "bits": recipe.bits,
        "seed": recipe.seed,
        "variant": recipe.variant,
        "backend": recipe.backend,
        "epochs": recipe.epochs,
        "settings": run.state["recipe"],
        "versions": run.state["versions"],
        "data_checksum": hashlib.sha256(checksums.encode()).hexdigest(),
        "history": history,
        "metrics": run.state["metrics"],
        "seconds": run.state["seconds"],
    }


def _finished(cells: Path) -> dict[str, Recipe]:
    """Recipe by cell; an unterminated last line, from an interrupted write, is cut off."""
    if not cells.is_file():
        return {}
    whole, _, rest = cells.read_bytes().rpartition(b"\n")
    if rest:
        with cells.open("r+b") as file:
            file.truncate(len(whole) + 1 if whole else 0)
    done = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            recipe = resolve(**json.loads(line)["settings"])
            done[cell_name(recipe)] = recipe
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(
                f"{cells}: line {number} is not a cell: {error}; delete it, and its run is read"
            ) from error
    return done


def _append(cells: Path, cell: dict[str, Any]) -> None:
    """Add a line and flush it to the disk, or leave the file as it was."""
    new = not cells.exists()
    line = memoryview(json.dumps(cell, allow_nan=False).encode() + b"\n")
    with explained_full_disk(cells):
        handle = os.open(cells, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        size = os.fstat(handle).st_size
        try:
            while line:
                line = line[os.write(handle, line) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
        finally:
            os.close(handle)
    if new:
        sync(cells.parent)
