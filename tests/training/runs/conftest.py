import numpy as np
import pytest


@pytest.fixture(scope="session")
def file(pairs, tmp_path_factory):
    x, labels = pairs
    path = tmp_path_factory.mktemp("data") / "pairs.npz"
    np.savez(path, image=x["image"], text=x["text"].astype("float32"), labels=labels)
    return path


@pytest.fixture(scope="session")
def whole(file, tmp_path_factory):
    """A run of four epochs that nothing stopped; not to be changed."""
    from tests.training.runs.small import begin, trained

    run = begin(file, tmp_path_factory.mktemp("runs") / "whole")
    trained(run)
    return run
