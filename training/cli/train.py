"""The commands that train: train, tune."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import (
    app,
    bad_input_ends,
    given_settings,
    quiet_import,
    show_line,
    show_next,
    stopped_ends,
    uses_tensorflow,
)
from scbch_keras.training.cli.options import (
    TRACKERS,
    Backend,
    Bits,
    Checked,
    Columns,
    Config,
    Devices,
    Epochs,
    Folder,
    ImageFeatures,
    ImageWeights,
    NamedData,
    NoAllocator,
    Noise,
    Queries,
    Seed,
    Separator,
    Settings,
    TextFeatures,
    Tokens,
    TrainingPrecision,
    Variant,
    choice,
    option,
)
from scbch_keras.training.cli.process import keeping_memory
from scbch_keras.training.cli.shown import show_metrics, show_sources
from scbch_keras.training.environment import choose_backend, versions
from scbch_keras.training.progress import display

if TYPE_CHECKING:
    from scbch_keras.training.runs.folder import RunFolder
    from scbch_keras.training.runs.tune import Tuned

_SHOWN_TRIALS = 10


@app.command()
def train(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help=NamedData, show_default="--config's")
    ] = None,
    out: Annotated[Path, option("Folder of the run, new or empty.")] = Path("scbch-run"),
    config: Config = None,
    folder: Folder = None,
    backend: Backend = None,
    noise: Noise = None,
    bits: Bits = None,
    seed: Seed = None,
    epochs: Epochs = None,
    variant: Variant = None,
    queries: Queries = None,
    separator: Separator = None,
    columns: Columns = None,
    image_features: ImageFeatures = None,
    image_weights: ImageWeights = None,
    text_features: TextFeatures = None,
    tokens: Tokens = None,
    checked: Checked = None,
    precision: TrainingPrecision = None,
    settings: Settings = None,
    track: Annotated[
        list[str] | None, choice(TRACKERS, "Log the epochs with a tracker too. Can be repeated.", "none")
    ] = None,
    devices: Devices = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    no_allocator: NoAllocator = False,
) -> None:
    """Train on a benchmark or on your own data. Ctrl-C leaves a checkpoint of the last epoch to resume from."""
    from scbch_keras.training.runs import ranks
    from scbch_keras.training.runs.folder import RunFolder
    from scbch_keras.training.runs.stopping import ended_in_time

    flags: dict[str, Any] = {
        "data": data,
        "folder": folder,
        "noise": noise,
        "bits": bits,
        "seed": seed,
        "epochs": epochs,
        "variant": variant,
        "queries": queries,
        "separator": separator,
        "columns": columns,
        "image_features": image_features,
        "image_weights": image_weights,
        "text_features": text_features,
        "tokens": tokens,
        "precision": precision,
        "checked": checked,
    }
    with bad_input_ends():
        if ranks.is_rank() and (not resume or devices is not None):
            raise ValueError(
                "several processes (WORLD_SIZE) would each begin this run: start one, and --devices starts the others"
            )
        if resume:
            run = RunFolder.open(out)
            passed = [name for name, value in flags.items() if value is not None]
            if passed or config or settings:
                raise ValueError(
                    f"--resume takes the run's own settings; {(passed or ['config'])[0]} was given too"
                )
            recipe = run.recipe
        else:
            from scbch_keras.training.runs.recipe import resolve

            recipe = resolve(config, **given_settings(flags, settings))
        os.environ["KERAS_BACKEND"] = choose_backend(backend or recipe.backend)
        processes = 1
        if devices is not None:
            processes, shown = ranks.devices_for(devices, os.environ["KERAS_BACKEND"])
            show_line(f"Devices: {shown}")
        if not resume:
            recipe = replace(recipe, backend=os.environ["KERAS_BACKEND"])
        if processes > 1 and not resume:
            run = RunFolder.create(out, recipe, versions(recipe.backend or ""))
    if processes > 1:
        options = [word for name in track or () for word in ("--track", name)]
        options += ["--no-allocator"] if no_allocator else []
        raise typer.Exit(_train_in_processes(run, processes, options, is_new=not resume))
    with bad_input_ends(), ended_in_time():
        with quiet_import(tensorflow=uses_tensorflow(recipe.image_features)):
            from scbch_keras.training.cli.live import TrainingTable
            from scbch_keras.training.runs import tracking
            from scbch_keras.training.runs import train as training
            from scbch_keras.training.runs.open_data import open_data

            tracking.check_trackers(track or ())
        console = Console()
        if not resume:
            run = RunFolder.create(out, recipe, versions(recipe.backend or ""))
        try:
            pairs = open_data(recipe, out)
        except (ImportError, ValueError):
            if not resume:
                run.discard()
            raise
        show_sources(console, pairs)
        with (
            stopped_ends(f"Go on with: scbch train --resume --out {out}"),
            tracking.tracked(track or () if ranks.is_first() else (), run) as trackers,
            TrainingTable(console, recipe.epochs) as table,
        ):
            training.train(run, pairs, verbose=0, callbacks=[table, *trackers])
    if not ranks.is_first():
        return
    show_metrics(console, run.state["metrics"], run.state["data"])
    show_line(f"Run: {out.resolve()}", console)
    show_next(("report", out), ("export", out, "--out", f"releases/{out.resolve().name}"))


def _train_in_processes(run: "RunFolder", processes: int, options: list[str], is_new: bool) -> int:
    """The exit status of several processes that go on with a run, each of which opens its data itself."""
    from scbch_keras.training.runs import ranks

    backend = os.environ["KERAS_BACKEND"]
    arguments = ["train", "--resume", "--out", str(run.path), "--backend", backend, *options]
    status = ranks.train_by_ranks(arguments, processes, keeping_memory(arguments))
    if status and is_new and not run.open(run.path).begun:
        run.discard()
    return status


@app.command()
def tune(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help=NamedData, show_default="--config's")
    ] = None,
    out: Annotated[
        Path, option("Folder of the study; the same command goes on with the one that is there.")
    ] = Path("scbch-tune"),
    trials: Annotated[int, option("Trainings in all, those that are done among them.", min=1)] = 20,
    space: Annotated[
        list[str] | None,
        option(
            "What to vary: NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=VALUE,VALUE. Can be repeated.",
            "learning_rate=1e-5:1e-3:log, shift=0.2:1.5",
            metavar="NAME=SPACE",
        ),
    ] = None,
    space_file: Annotated[
        Path | None, option("TOML file: a table a setting, with low, high and log, or choices.", "none")
    ] = None,
    config: Config = None,
    folder: Folder = None,
    backend: Backend = None,
    noise: Noise = None,
    bits: Bits = None,
    seed: Seed = None,
    epochs: Epochs = None,
    variant: Variant = None,
    separator: Separator = None,
    columns: Columns = None,
    image_features: ImageFeatures = None,
    image_weights: ImageWeights = None,
    text_features: TextFeatures = None,
    tokens: Tokens = None,
    settings: Settings = None,
    no_allocator: NoAllocator = False,
) -> None:
    """Search for the settings that find best on a part of the training pairs; the queries are not looked at."""
    from scbch_keras.training.runs.stopping import ended_in_time

    with bad_input_ends(), ended_in_time():
        _check_optuna()
        from scbch_keras.training.runs.recipe import resolve
        from scbch_keras.training.runs.space import read_space

        os.environ["KERAS_BACKEND"] = choose_backend(backend)
        flags = {
            "data": data,
            "folder": folder,
            "backend": os.environ["KERAS_BACKEND"],
            "noise": noise,
            "bits": bits,
            "seed": seed,
            "epochs": epochs,
            "variant": variant,
            "separator": separator,
            "columns": columns,
            "image_features": image_features,
            "image_weights": image_weights,
            "text_features": text_features,
            "tokens": tokens,
        }
        recipe = resolve(config, **given_settings(flags, settings))
        varied = read_space(recipe, space or ([] if space_file else DEFAULT_SPACE), space_file)
        with quiet_import(tensorflow=uses_tensorflow(recipe.image_features)):
            from scbch_keras.training.runs.tune import BEST
            from scbch_keras.training.runs.tune import tune as search
        console = Console()
        with stopped_ends(), _trial_progress(console, trials) as (progress, epoch):
            tuned = search(recipe, varied, out, trials, progress, epoch)
    _show_trials(console, tuned)
    show_line(f"Best recipe: {out / BEST}", console)
    show_next(("train", "--config", out / BEST, "--out", f"{out.resolve().name}-run"))


DEFAULT_SPACE = ("learning_rate=1e-5:1e-3:log", "shift=0.2:1.5")


def _check_optuna() -> None:
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise ImportError("scbch tune needs optuna: pip install 'scbch_keras[tune]'")


@contextmanager
def _trial_progress(console: Console, trials: int) -> Iterator[Any]:
    with display(console=console, transient=True) as shown:
        done = shown.add_task("Trials", total=trials)
        epochs = shown.add_task("")

        def progress(trial: Any) -> None:
            score = trial.state if trial.score is None else f"{trial.score:.4f}"
            settings = ", ".join(f"{name}={value}" for name, value in trial.settings.items())
            shown.advance(done)
            show_line(f"trial {trial.number}: {score}  {settings}", console)

        def epoch(trial: int, now: int, total: int) -> None:
            shown.update(epochs, description=f"Trial {trial}, epochs", completed=now, total=total)

        yield progress, epoch


def _show_trials(console: Console, tuned: "Tuned") -> None:
    best = sorted(
        (trial for trial in tuned.trials if trial.score is not None), key=lambda one: -(one.score or 0)
    )
    table = Table(title="Best trials, mean mAP on held-out training pairs", title_justify="left")
    for column in ("trial", "mAP", "settings"):
        table.add_column(column, overflow="fold")
    for trial in best[:_SHOWN_TRIALS]:
        settings = ", ".join(f"{name}={value}" for name, value in trial.settings.items())
        table.add_row(str(trial.number), f"{trial.score:.4f}", terminal(settings))
    console.print(table)
    pruned = sum(trial.state == "pruned" for trial in tuned.trials)
    show_line(f"{len(tuned.trials)} trials, {pruned} of them pruned", console)
