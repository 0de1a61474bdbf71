"""What corrections of labels gained: the same training on the labels before and after, judged by the same labels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scbch_keras.training.data.own.fixed_data import FIXED, correction_notes, labels_before
from scbch_keras.training.data.own.groups import agreeing
from scbch_keras.training.data.own.vocabulary import label_matrix
from scbch_keras.training.data.pairs import Pairs
from scbch_keras.training.environment import versions
from scbch_keras.training.runs.folder import STATE, RunFolder
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import Recipe
from scbch_keras.training.runs.train import epochs_told, train


@dataclass(frozen=True)
class Gain:
    """mAP@all, the mean of both directions, before and after."""

    seeds: tuple[tuple[int, float, float], ...]
    """(seed, before, after)."""
    note: str
    """What was corrected, in words."""
    judged: str
    """By which labels queries and database were judged, in words."""

    @property
    def means(self) -> tuple[str, str, str]:
        """Before, after and gain; the gain with its standard error over seeds, paired."""
        before, after = np.array([values for _, *values in self.seeds]).T
        gains = after - before
        error = f" ± {gains.std(ddof=1) / np.sqrt(len(gains)):.4f}" if len(gains) > 1 else ""
        return f"{before.mean():.4f}", f"{after.mean():.4f}", f"{gains.mean():+.4f}{error}"


def gain(
    recipe: Recipe,
    out: Path,
    seeds: Iterable[int],
    progress: Callable[[str], Callable[[int, int], object]] = lambda step: lambda done, total: None,
) -> Gain:
    """Train a recipe twice a seed: on the labels before the last correction of its data, and on those after.

    Queries and database are the same, with the same labels: the clean ones where they are known, else the corrected.

    Args:
        recipe: of data that `scbch fix` wrote.
        out: folder of the runs, before-SEED and after-SEED; finished ones are not trained again, others go on.
        seeds: of split, initial weights and order of the batches.
        progress: called with what is trained as it begins; what it gives is told epochs done, and epochs in all.

    Raises:
        ValueError: the data was not written by `scbch fix`, or nothing was changed in it.
    """
    path = Path(recipe.data)
    before = labels_before(path)
    if not before:
        raise ValueError(f"{path}: expected data that scbch fix changed, with {FIXED} in its folder")
    results: list[tuple[int, float, float]] = []
    for seed in seeds:
        of_seed = replace(recipe, seed=seed)
        scores = []
        for name in ("before", "after"):
            folder = out / f"{name}-{seed}"
            run = (
                RunFolder.open(folder)
                if (folder / STATE).is_file()
                else RunFolder.create(folder, of_seed, versions(recipe.backend or ""))
            )
            if run.recipe != of_seed:
                raise ValueError(f"out: {folder} is a run of other settings; name another folder")
            if not run.finished:
                advance = progress(f"Labels {name} the corrections, seed {seed}")
                data = open_data(of_seed, folder, out)
                if name == "before":
                    data = replace(data, train=_undone(data.train, before, data.label_names))
                train(run, data, verbose=0, keep_model=False, callbacks=[epochs_told(advance, recipe.epochs)])
            scores.append(float(np.mean([run.state["metrics"][way]["map"] for way in ("i2t", "t2i")])))
        results.append((seed, scores[0], scores[1]))
    notes = run.state["data"]["notes"]
    judged = f"Judged by {notes['labels of queries and database']}"
    return Gain(tuple(results), correction_notes(path)["corrected labels"], judged)


def _undone(train: Pairs, before: Mapping[str, Sequence[str]], names: tuple[str, ...]) -> Pairs:
    """The training pairs with the labels that they had; a label that no sample has any more is left out."""
    labels = train.labels.copy()
    rows = [row for row, name in enumerate(train.ids.tolist()) if name in before]
    if rows:
        labels[rows] = label_matrix([before[train.ids[row]] for row in rows], names)
    return replace(train, labels=labels, groups=agreeing(train.groups, labels))
