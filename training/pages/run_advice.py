"""What to try after a run: what its numbers say, and nothing else."""

import shlex
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from scbch_keras.labels.audit import LabelAudit
from scbch_keras.methods import VARIANTS
from scbch_keras.training.runs.evaluate import Chance
from scbch_keras.training.runs.folder import RECIPE, RunFolder

_LITTLE = 0.02
"""mAP above a random order that is as good as nothing."""
_RISE, _FALL = 0.005, 0.01
_DOUBTED = 0.05
"""Share of the labels that is worth a look."""
_FEW_QUERIES = 100
_FEW_CODES = 0.5


class Advice(NamedTuple):
    """What the numbers say, and a command that follows from it, where there is one."""

    text: str
    command: str | None = None


def advice(run: RunFolder, chance: Chance, audit: LabelAudit) -> list[Advice]:
    """What to try next, the most telling first."""
    return [*_little(run, chance), *_length(run), *_labels(run, audit), *_size(run), *_next(run)]


def mean_map(run: RunFolder) -> float:
    """Of both directions, after the last epoch."""
    return float(np.mean([run.state["metrics"][way]["map"] for way in ("i2t", "t2i")]))


def evaluated_epochs(run: RunFolder) -> tuple[list[int], list[float]]:
    """Epochs after which mAP was measured, and the mean of both directions there."""
    known = [
        (int(logs["epoch"]), (logs["i2t_map"] + logs["t2i_map"]) / 2)
        for logs in run.state["history"]
        if logs.get("i2t_map") is not None and logs.get("t2i_map") is not None
    ]
    return [epoch for epoch, _ in known], [score for _, score in known]


def _little(run: RunFolder, chance: Chance) -> Iterator[Advice]:
    score = mean_map(run)
    if score - chance.map < _LITTLE:
        yield Advice(
            f"Next to nothing was learned: mAP {score:.3f} in the mean, {chance.map:.3f} in a random order. Look at "
            "the data before the settings.",
            None if run.recipe.is_named else _command("describe", run.recipe.data),
        )


def _length(run: RunFolder) -> Iterator[Advice]:
    epochs, scores = evaluated_epochs(run)
    skipped = sum(logs.get("skipped") or 0 for logs in run.state["history"])
    if skipped:
        yield Advice(
            f"{skipped:,.0f} updates were skipped, since their loss or gradient was not finite: docs/training.md says "
            "which samples that names."
        )
    if len(scores) < 4:
        return
    best, before = int(np.argmax(scores)), len(scores) - 1 - max(1, len(scores) // 5)
    if best == len(scores) - 1 and scores[-1] - scores[before] > _RISE:
        yield Advice(
            f"mAP still rose, by {scores[-1] - scores[before]:.3f} after epoch {epochs[before]}: train for longer.",
            _train(run, "longer", "--epochs", str(2 * run.recipe.epochs)),
        )
    elif scores[best] - scores[-1] > _FALL:
        yield Advice(
            f"mAP was highest after epoch {epochs[best]}, {scores[best]:.3f}, and fell by "
            f"{scores[best] - scores[-1]:.3f} until the last: fewer epochs may do better. As the queries of this page "
            "chose them, judge them by others.",
            _train(run, "shorter", "--epochs", str(epochs[best])),
        )


def _labels(run: RunFolder, audit: LabelAudit) -> Iterator[Advice]:
    labels, wrong = int((audit.labels != 0).sum()), int(audit.contradicted().sum())
    if wrong < _DOUBTED * labels:
        return
    share = f"{wrong:,} of {labels:,} labels are doubted"
    yield Advice(f"{share}: look at them and decide.", _command("audit", str(run.path)))
    if VARIANTS[run.recipe.variant].settings.get("labels") != "posterior":
        yield Advice(
            f"{share}, and this variant ({run.recipe.variant}) takes them as they are: train on the probability that "
            "each is true.",
            _train(run, "posterior", "--variant", "posterior"),
        )


def _size(run: RunFolder) -> Iterator[Advice]:
    queries = len(run.array("query_labels"))
    if queries < _FEW_QUERIES:
        yield Advice(
            f"There are {queries} queries: a single one changes mAP by up to {1 / queries:.3f}. Do not choose between "
            "settings by smaller differences."
        )
    codes = run.array("database_image_codes")
    kinds = len(np.unique(codes, axis=0))
    if kinds < _FEW_CODES * len(codes):
        yield Advice(
            f"{len(codes):,} images of the database have {kinds:,} different codes: more bits tell more of them apart.",
            _train(run, "more-bits", "--bits", str(2 * run.recipe.bits)),
        )


def _next(run: RunFolder) -> Iterator[Advice]:
    if run.state["model"] is not None:
        yield Advice(
            "To search with this model, release it.",
            _command("export", str(run.path), "--out", f"releases/{run.path.resolve().name}"),
        )


def _train(run: RunFolder, name: str, *settings: str) -> str:
    """The same training with other settings, in a folder beside."""
    out = run.path.with_name(f"{run.path.resolve().name}-{name}")
    return _command("train", "--config", str(run.path / RECIPE), *settings, "--out", str(out))


def _command(*parts: str) -> str:
    return shlex.join(["scbch", *parts])
