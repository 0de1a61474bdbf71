"""Releases around hand-written encoders, one of which takes pictures too, and services on them."""

import httpx
import numpy as np
import pytest

from benchmarks.service import running_service
from scbch_keras.export import HashEncoder, encode_file
from tests.export.picture_release import WIDTH, with_pictures
from tests.export.service.gallery import COUNT, damage, running_demo, write_gallery
from tests.export.serving.test_codes_file import IDS, ROWS, write_release

pytest.importorskip("onnx")


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases") / "icons"
    folder.mkdir()
    write_release(folder / "2", b"another model")
    return with_pictures(write_release(folder / "1", b"a model"))


@pytest.fixture(scope="session")
def encoder(release):
    return HashEncoder(release)


@pytest.fixture(scope="session")
def features():
    return np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)


@pytest.fixture(scope="session")
def codes(encoder, features, tmp_path_factory):
    path = tmp_path_factory.mktemp("service") / "c.npy"
    encode_file(encoder, "image", [(features, IDS)], path)
    return path


@pytest.fixture(scope="session")
def service(release, codes):
    """The address of a service with small limits."""
    # A wait in which the requests of one test meet in a batch; every request takes so long.
    limits = {
        "max-wait-ms": 50,
        "max-waiting": 100,
        "max-body": 100_000,
        "max-text": 20_000,
        "max-pixels": 10_000,
        "max-request-pixels": 30_000,
        "header-seconds": 1,
        "body-seconds": 1,
    }
    options = [part for name, value in limits.items() for part in (f"--{name}", str(value))]
    with running_service(str(release), "--codes", str(codes), *options) as (address, _):
        yield address


@pytest.fixture(scope="session")
def client():
    with httpx.Client(timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def gallery(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery") / "pictures"
    write_gallery(folder)
    return folder


@pytest.fixture(scope="session")
def gallery_codes(encoder, gallery, tmp_path_factory):
    path = tmp_path_factory.mktemp("codes") / "pictures.npy"
    names = [f"{row}.png" for row in range(COUNT)]
    encode_file(encoder, "image", [([str(gallery / name) for name in names], names)], path)
    return path


@pytest.fixture(scope="session")
def demo(release, gallery_codes, gallery):
    """The address of a search page, whose folder was damaged after it began."""
    with running_demo(release, "--codes", gallery_codes, "--data", gallery, "--no-browser") as address:
        damage(gallery)
        yield address
