"""Releases around hand-written encoders, one of which takes pictures too, and services on them."""

import httpx
import numpy as np
import pytest

from benchmarks.service import running_service
from scbch_keras.export import HashEncoder, ImagePipeline, encode_file
from scbch_keras.export.format import manifest as manifests
from tests.export.service.gallery import COUNT, damage, running_demo, write_gallery
from tests.export.serving.test_codes_file import IDS, ROWS, write_release
from tests.export.serving.test_encoder import BITS, encoder_graph

onnx = pytest.importorskip("onnx")
WIDTH = 12


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases") / "icons"
    folder.mkdir()
    write_release(folder / "2", b"another model")
    return _with_pictures(write_release(folder / "1", b"a model"))


def _with_pictures(version):
    """The release, taking features in rows, and pictures, which become 3 x 4 pixels."""
    image = encoder_graph("image")
    dims = image.graph.input[0].type.tensor_type.shape.dim
    del dims[2:]
    dims[1].dim_value = WIDTH
    onnx.save(image, version / "image.onnx")
    ImagePipeline((3, 4)).save(version)
    onnx.save(_pictures_graph(), version / manifests.RAW_IMAGE_ONNX)
    manifest = manifests.read(version)
    manifest["signatures"]["encode_image"] = manifests.signature("image", [None, WIDTH], BITS)
    manifest["encoders"][manifests.RAW_IMAGE] = {
        "onnx": {"path": manifests.RAW_IMAGE_ONNX},
        "pipeline": {"path": manifests.IMAGE_PIPELINE},
    }
    manifest["files"] = manifests.describe_files(version)
    manifests.write(version, manifest)
    return version


def _pictures_graph():
    helper, kind = onnx.helper, onnx.TensorProto
    width = -(-BITS // 8)
    packing = np.zeros((BITS, width), np.float32)
    for bit in range(BITS):
        packing[bit, bit // 8] = 2 ** (7 - bit % 8)
    weights = np.random.default_rng(7).standard_normal((3 * WIDTH, BITS)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["pictures"], ["pixels"], to=kind.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Tanh", ["product"], ["codes"]),
        helper.make_node("Greater", ["codes", "zero"], ["positive"]),
        helper.make_node("Cast", ["positive"], ["ones"], to=kind.FLOAT),
        helper.make_node("MatMul", ["ones", "p"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["packed_codes"], to=kind.UINT8),
    ]
    constants = {"w": weights, "p": packing, "zero": np.float32(0)}
    graph = helper.make_graph(
        nodes,
        "pictures",
        [helper.make_tensor_value_info("pictures", kind.UINT8, ["batch", "height", "width", 3])],
        [
            helper.make_tensor_value_info("packed_codes", kind.UINT8, ["batch", width]),
            helper.make_tensor_value_info("codes", kind.FLOAT, ["batch", BITS]),
        ],
        [onnx.numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


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
    # A long wait, in which the requests of one test meet in a batch.
    limits = {
        "max-wait-ms": 300,
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
