"""A hand-written release that takes pictures."""

import numpy as np
import onnx

from scbch_keras.export import ImagePipeline
from scbch_keras.export.format import manifest as manifests
from tests.export.serving.test_encoder import BITS, encoder_graph

WIDTH = 12


def with_pictures(version):
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
