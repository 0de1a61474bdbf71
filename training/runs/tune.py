"""A search for settings by Optuna: trials on parts of the training pairs, pruned, resumable, with the best recipe.

The queries and the database of the data are never looked at: what is chosen by them would flatter itself there.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tomli_w
from numpy.typing import NDArray

from scbch_keras.checks import whole
from scbch_keras.files import replaced
from scbch_keras.training.data.own.groups import Groups, draw_rows
from scbch_keras.training.data.pairs import Pairs, RetrievalData
from scbch_keras.training.environment import versions
from scbch_keras.training.runs.folder import RunError, RunFolder, describe_data, held_by_this_process
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import Recipe, resolve
from scbch_keras.training.runs.space import Choices, Space, in_words
from scbch_keras.training.runs.stopping import RunStopped, Stopping, stopped_by_signals
from scbch_keras.training.runs.train import train

STUDY, BEST, DATA, TRIAL = "study.log", "best.toml", "data", "trial"
VALIDATION = 0.2
"""Share of the training pairs by which trials are judged."""
_NAME = "scbch"


class TrialResult(NamedTuple):
    """A trial that has ended."""

    number: int
    settings: dict[str, Any]
    score: float | None
    """Mean mAP of both directions on the validation pairs; None: it was pruned, or failed."""
    state: str
    """"complete", "pruned" or "fail"."""


class Tuned(NamedTuple):
    """What a search found."""

    recipe: Recipe
    """The best one, to be trained on all training pairs."""
    score: float
    trials: tuple[TrialResult, ...]


def tune(
    recipe: Recipe,
    space: Space,
    out: Path,
    trials: int,
    progress: Callable[[TrialResult], object] = lambda trial: None,
    epoch: Callable[[int, int, int], object] = lambda trial, done, total: None,
) -> Tuned:
    """Search for settings until a study has `trials` trials, and write the best recipe to `out`/best.toml.

    Each trial trains on four fifths of the training pairs and is judged by the mean mAP of both directions with the
    other fifth as queries, by the labels as they are given. With an evaluation each epoch, trials that lag behind the
    median of the others at the same epoch are pruned. The recipe's own settings are the first trial where the space
    has them.

    Args:
        recipe: what does not vary, and the seed of everything.
        space: what varies.
        out: folder of the study; one that is there goes on, with the same recipe, space and data.
        trials: at least 1, with those that are done already.
        progress: called with each trial that ends.
        epoch: called with (trial, epochs done, epochs in all).

    Raises:
        RunError: the folder holds something else, or a study of another recipe, space or data.
        RunStopped: it was stopped; the same call goes on.
        ValueError: no trial gave a number, or the data cannot be read.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    trials = whole("trials", trials, 1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    with held_by_this_process(out, "study"), stopped_by_signals() as stop:
        (out / DATA).mkdir(exist_ok=True)
        data = validation_data(open_data(recipe, out / DATA), recipe.seed)
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(out / STUDY))),
            study_name=_NAME,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
        )
        _check_study(
            out, study, {"recipe": recipe.as_dict(), "space": in_words(space), "data": describe_data(data)}
        )
        # Trials of a process that was killed, which nobody ends any more.
        for left in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(left.number, state=optuna.trial.TrialState.FAIL)
        own = {name: getattr(recipe, name) for name in space}
        if not study.trials and all(values.has(own[name]) for name, values in space.items()):
            study.enqueue_trial(_parameters(space, own))
        while len(_ended(study)) < trials:
            if stop.is_set():
                raise RunStopped(f"stopped after {len(_ended(study))} of {trials} trials", stop.number)
            # Seeded by what is done: a resumed study draws on, and does not draw the same again.
            study.sampler = optuna.samplers.TPESampler(
                seed=recipe.seed + len(study.trials), n_startup_trials=5
            )
            trial = study.ask()
            chosen = resolve(
                **{
                    **recipe.as_dict(),
                    **{name: values.suggested(trial, name) for name, values in space.items()},
                }
            )
            folder = out / f"{TRIAL}-{trial.number}"
            try:
                score = _score(chosen, data, folder, trial, epoch, stop)
                study.tell(trial, score)
            except optuna.TrialPruned:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            except (Stopping, RunStopped):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                raise RunStopped(f"stopped in trial {trial.number}", stop.number) from None
            except FloatingPointError:  # the settings made the loss diverge
                trial.set_user_attr("diverged", True)
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            finally:
                for left in out.glob(f"{TRIAL}-*"):
                    shutil.rmtree(left)
            progress(_result(study.trials[trial.number], space))
            keras.utils.clear_session()
        done = tuple(_result(trial, space) for trial in _ended(study))
    known = [result for result in done if result.state == "complete" and result.score is not None]
    if not known:
        raise ValueError(f"{out}: none of {len(done)} trials ended with a number; narrow the space")
    best = max(known, key=lambda result: result.score or 0.0)
    tuned = resolve(**{**recipe.as_dict(), **best.settings})
    with replaced(out / BEST) as file:
        file.write(tomli_w.dumps(tuned.as_dict()).encode())
    return Tuned(tuned, float(best.score or 0.0), done)


def validation_data(data: RetrievalData, seed: int) -> RetrievalData:
    """The training pairs alone: a share of them as queries, the others to train on and to search in.

    Labels are those that are given. Rows of an item stay together.
    """
    train = data.train
    groups = None if train.groups is None else Groups(_numbered(train.groups), "items")
    held = draw_rows(groups, len(train), max(1, round(VALIDATION * len(train))), seed)
    rest = np.setdiff1d(np.arange(len(train)), held)
    others = _part(train, rest)
    note = f"{len(held)} of {len(train)} training pairs as queries, by their given labels, seed {seed}"
    return replace(
        data,
        train=others,
        query=_part(train, held),
        database=others,
        notes={**data.notes, "validation": note},
    )


def _numbered(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _part(pairs: Pairs, rows: NDArray[np.int64]) -> Pairs:
    def of(values: Any) -> Any:
        if values is None:
            return None
        return (
            tuple(values[row] for row in rows.tolist())
            if isinstance(values, tuple)
            else np.asarray(values)[rows]
        )

    return Pairs(*(of(getattr(pairs, name)) for name in Pairs.__dataclass_fields__))


def _score(
    recipe: Recipe,
    data: RetrievalData,
    folder: Path,
    trial: Any,
    epoch: Callable[[int, int, int], object],
    stop: Any,
) -> float:
    run = RunFolder.create(folder, recipe, versions(recipe.backend or ""))
    watch = _Watch(trial, recipe.epochs, epoch)
    train(run, data, verbose=0, keep_model=False, callbacks=[watch], stop=stop)
    return float(np.mean([run.state["metrics"][way]["map"] for way in ("i2t", "t2i")]))


class _Watch(keras.callbacks.Callback):
    """Tells Optuna the mAP of each epoch that was evaluated, and ends a trial that it prunes."""

    def __init__(self, trial: Any, epochs: int, told: Callable[[int, int, int], object]):
        super().__init__()
        self.trial, self.epochs, self.told = trial, epochs, told

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.told(self.trial.number, epoch + 1, self.epochs)
        scores = [(logs or {}).get(f"{way}_map") for way in ("i2t", "t2i")]
        if any(score is None for score in scores):
            return
        self.trial.report(float(np.mean(scores)), epoch + 1)  # type: ignore[arg-type]
        if epoch + 1 < self.epochs and self.trial.should_prune():
            import optuna

            raise optuna.TrialPruned


def _check_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / STUDY).is_file())):
        raise RunError(f"out: expected a new or empty folder, or that of a study; {out} holds something else")


def _check_study(out: Path, study: Any, content: dict[str, Any]) -> None:
    """Note what the study is of, or refuse one of something else."""
    for name, value in content.items():
        text = json.dumps(value, sort_keys=True)
        if name not in study.user_attrs:
            study.set_user_attr(name, text)
        elif study.user_attrs[name] != text:
            raise RunError(f"out: {out} holds a study of another {name}; name another folder")


def _ended(study: Any) -> list[Any]:
    """Trials that count: a failed one, which may have been killed, does not."""
    import optuna

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    diverged = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.FAIL,))
        if trial.user_attrs.get("diverged")
    ]
    return [*study.get_trials(deepcopy=False, states=states), *diverged]


def _parameters(space: Space, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as Optuna has them: choices by their place."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    return {
        name: values.values.index(plain[name]) if isinstance(values, Choices) else plain[name]
        for name, values in space.items()
    }


def _result(trial: Any, space: Space) -> TrialResult:
    settings = {
        name: values.values[trial.params[name]] if isinstance(values, Choices) else trial.params[name]
        for name, values in space.items()
        if name in trial.params
    }
    state = trial.state.name.lower()
    return TrialResult(trial.number, settings, trial.value if state == "complete" else None, state)
