"""A hand-written release that takes pictures."""

import numpy as np
import onnx

from benchmarks.small_release import sign_graph
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
    weights = np.random.default_rng(7).standard_normal((3 * WIDTH, BITS)).astype(np.float32)
    pictures = sign_graph("pictures", "UINT8", ["batch", "height", "width", 3], weights)
    onnx.save(pictures, version / manifests.RAW_IMAGE_ONNX)
    manifest = manifests.read(version)
    manifest["signatures"]["encode_image"] = manifests.signature("image", [None, WIDTH], BITS)
    manifest["encoders"][manifests.RAW_IMAGE] = {
        "onnx": {"path": manifests.RAW_IMAGE_ONNX},
        "pipeline": {"path": manifests.IMAGE_PIPELINE},
    }
    manifest["files"] = manifests.describe_files(version)
    manifests.write(version, manifest)
    return version
