"""`run_fn`, by the path that pipelines name."""

from scbch_keras.training.tfx.run_fn import run_fn

__all__ = ["run_fn"]
