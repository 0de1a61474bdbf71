"""A small model with a vocabulary, and its release: what the serving benchmarks open."""

from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras.export import TextPipeline

BITS, IMAGE, HIDDEN = 64, 512, 256
PIPELINE = TextPipeline([f"word{number}" for number in range(200)], "counts")


def strings(count: int, seed: int = 0) -> list[str]:
    """Texts of 0 to 8 words, known and unknown."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, count)
    return [" ".join(f"Word{word}" for word in rng.integers(0, 220, length)) for length in lengths]


def images(count: int, seed: int = 0) -> np.ndarray:
    """Image features, float32 (count, IMAGE)."""
    return np.random.default_rng(seed).standard_normal((count, IMAGE), np.float32)


def small_model() -> Any:
    """A built model with random weights, on the backend of this process."""
    import keras

    import scbch_keras as sk

    keras.utils.set_random_seed(0)
    branches = {
        f"{modality}_branch": sk.HashBranch(BITS, (HIDDEN,), name=f"{modality}_branch")
        for modality in ("image", "text")
    }
    model = sk.SCBCH(BITS, num_classes=4, neighbors=10, warmup_epochs=1, **branches)
    model.build({"image": (None, IMAGE), "text": (None, PIPELINE.dimensions)})
    return model


def release_small_model(folder: Path) -> Path:
    """Release the small model into `folder`; returns the folder of the version."""
    from scbch_keras.export import release

    return release(small_model(), folder, text=PIPELINE).path
