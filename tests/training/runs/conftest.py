import numpy as np
import pytest


@pytest.fixture(scope="module")
def file(pairs, tmp_path_factory):
    x, labels = pairs
    path = tmp_path_factory.mktemp("data") / "pairs.npz"
    np.savez(path, image=x["image"], text=x["text"].astype("float32"), labels=labels)
    return path
