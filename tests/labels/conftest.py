import numpy as np
import pytest


@pytest.fixture(scope="session")
def draw_pairs():
    """A function: share of labels -> 400 pairs of 10 labels that show in both modalities."""

    def draw(share):
        rng = np.random.default_rng(0)
        labels = (rng.random((400, 10)) < share).astype("uint8")
        image = labels @ rng.standard_normal((10, 40)) + 0.7 * rng.standard_normal((400, 40))
        text = rng.poisson(0.05 + labels @ (rng.random((10, 30)) < 0.2))
        return image.astype("float32"), text.astype("float32"), labels

    return draw
