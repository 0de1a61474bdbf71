"""Experiment trackers: callbacks that exist, which are told of a run what the run itself keeps."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import keras

from scbch_keras.checks import one_of
from scbch_keras.training.runs.folder import RunFolder


@contextmanager
def tracked(names: Sequence[str], run: RunFolder) -> Iterator[list[keras.callbacks.Callback]]:
    """Callbacks that log a run's epochs: losses and mAP by epoch, and its recipe where the tracker has a place for it.

    Args:
        names: of `TRACKERS`.
        run: a run that is about to be trained, or to go on.

    Raises:
        ValueError: an unknown tracker.
        ImportError: its package is not installed.
    """
    with ExitStack() as stack:
        yield [
            stack.enter_context(TRACKERS[one_of("track", name, TRACKERS)](run))
            for name in dict.fromkeys(names)
        ]


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that there are not, or whose package is not installed. Raises ValueError or ImportError."""
    for name in names:
        one_of("track", name, TRACKERS)
        for package in _NEEDS[name]:
            if find_spec(package) is None:
                raise ImportError(f"track: {name} needs {package}: pip install {package}")


@contextmanager
def _tensorboard(run: RunFolder) -> Iterator[keras.callbacks.Callback]:
    """Into the run's folder tensorboard/."""
    yield keras.callbacks.TensorBoard(str(run.path / "tensorboard"), write_graph=False)


@contextmanager
def _mlflow(run: RunFolder) -> Iterator[keras.callbacks.Callback]:
    """A run of the tracking server that MLFLOW_TRACKING_URI names, in the experiment of MLFLOW_EXPERIMENT_NAME."""
    import mlflow
    from mlflow.keras import MlflowCallback

    with mlflow.start_run(run_name=run.path.resolve().name):
        mlflow.log_params({name: str(value) for name, value in run.recipe.as_dict().items()})
        yield MlflowCallback()
        # It logs in a thread of its own.
        mlflow.flush_async_logging()


@contextmanager
def _wandb(run: RunFolder) -> Iterator[keras.callbacks.Callback]:
    """A run of the project of WANDB_PROJECT, or scbch; WANDB_MODE=offline keeps it on the disk."""
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    project = os.environ.get("WANDB_PROJECT", "scbch")
    with wandb.init(project=project, name=run.path.resolve().name, config=run.recipe.as_dict()):
        yield WandbMetricsLogger()


TRACKERS: dict[str, Callable[[RunFolder], Any]] = {
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}
# Keras writes TensorBoard's files with TensorFlow, whatever backend trains; so does the logger of wandb.
_NEEDS = {"mlflow": ("mlflow",), "tensorboard": ("tensorflow",), "wandb": ("wandb", "tensorflow")}
