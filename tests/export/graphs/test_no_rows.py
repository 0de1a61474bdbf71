"""What a SavedModel serves, called with no rows: no codes come, whatever layers the branch is made of.

Also with TensorFlow's oneDNN kernels, which give the shape of its input to a convolution of no rows:
TF_ENABLE_ONEDNN_OPTS, which TensorFlow reads as it is imported, is 0 in one part of `python -m tests`, 1 in another.
"""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is TensorFlow's", allow_module_level=True)

from keras import layers

from scbch_keras import SCBCH, HashBranch
from scbch_keras.codes import pack_codes
from scbch_keras.export import ImagePipeline, TextPipeline
from scbch_keras.export.graphs import signatures
from scbch_keras.export.graphs.onnx import write_onnx
from scbch_keras.export.graphs.probes import picture_probes, serialized_examples

pytestmark = pytest.mark.onednn

BITS, BYTES = 20, 3
WORDS = TextPipeline([f"w{number}" for number in range(12)])
LINE, PLANE, SPACE, FREE = (12, 3), (12, 10, 3), (6, 6, 5, 3), (None, None, 3)


class Residual(layers.Layer):
    """A layer of a user's, with a convolution that it calls itself."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(3, 3, input_shape[-1], input_shape[-1]), name="kernel")

    def call(self, inputs):
        return inputs + keras.ops.conv(inputs, self.kernel, padding="same")


BODIES = {
    "convolution, 1 dimension": (LINE, lambda: [layers.Conv1D(4, 3, strides=2)]),
    "convolution, 2 dimensions": (PLANE, lambda: [layers.Conv2D(4, 3, strides=2)]),
    "convolution, 3 dimensions": (SPACE, lambda: [layers.Conv3D(4, 3, strides=2)]),
    "convolution of planes of any size": (FREE, lambda: [layers.Conv2D(4, 3, strides=2)]),
    "dilated convolution": (PLANE, lambda: [layers.Conv2D(4, 3, dilation_rate=2)]),
    "convolution in groups": (PLANE, lambda: [layers.Conv2D(6, 3, groups=3)]),
    "depthwise convolution, 1 dimension": (
        LINE,
        lambda: [layers.DepthwiseConv1D(3, strides=2, depth_multiplier=2)],
    ),
    "depthwise convolution, 2 dimensions": (
        PLANE,
        lambda: [layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2)],
    ),
    "separable convolution, 1 dimension": (LINE, lambda: [layers.SeparableConv1D(4, 3, strides=2)]),
    "separable convolution, 2 dimensions": (PLANE, lambda: [layers.SeparableConv2D(4, 3, strides=2)]),
    "transposed convolution, 1 dimension": (LINE, lambda: [layers.Conv1DTranspose(4, 3, strides=2)]),
    "transposed convolution, 2 dimensions": (PLANE, lambda: [layers.Conv2DTranspose(4, 3, strides=2)]),
    "transposed convolution, 3 dimensions": (SPACE, lambda: [layers.Conv3DTranspose(4, 3, strides=2)]),
    "convolution, normalised and pooled": (
        PLANE,
        lambda: [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D()],
    ),
    "two convolutions": (PLANE, lambda: [layers.Conv2D(4, 3, strides=2), layers.Conv2D(5, 3)]),
    "resized planes": (PLANE, lambda: [layers.Resizing(20, 16), layers.Conv2D(4, 3)]),
    "user's own convolution": (PLANE, lambda: [Residual()]),
    "recurrence": (LINE, lambda: [layers.GRU(4, return_sequences=True)]),
    "recurrent convolution": (SPACE, lambda: [layers.ConvLSTM2D(4, 3)]),
    "products alone": (LINE, lambda: [layers.Dense(4)]),
}


def small_model(image_body, image_shape, text_body=None, text_shape=(WORDS.dimensions,)):
    text = HashBranch(BITS, (8,)) if text_body is None else text_body
    model = SCBCH(bits=BITS, num_classes=4, image_branch=image_body, text_branch=text)
    model.build({"image": (None, *image_shape), "text": (None, *text_shape)})
    return model


def pooled(shape, inner):
    """The layers, and the mean over all places: unlike a Flatten it keeps channels apart where there are no rows."""
    inputs = outputs = keras.Input(shape)
    for layer in inner:
        outputs = layer(outputs)
    pool = {
        3: layers.GlobalAveragePooling1D,
        4: layers.GlobalAveragePooling2D,
        5: layers.GlobalAveragePooling3D,
    }
    return keras.Model(inputs, pool[len(outputs.shape)]()(outputs))


def rows(number, shape):
    sizes = [9 if size is None else size for size in shape]
    return np.random.default_rng(number).standard_normal((number, *sizes)).astype("float32")


def check_nothing(outputs, prefix=""):
    packed, codes = outputs[f"{prefix}packed_codes"].numpy(), outputs[f"{prefix}codes"].numpy()
    assert (packed.shape, packed.dtype) == ((0, BYTES), np.uint8)
    assert (codes.shape, codes.dtype) == ((0, BITS), np.float32)


@pytest.fixture(params=BODIES)
def branch(request):
    """A model with such an image branch, and the shape of a row."""
    keras.utils.set_random_seed(2)
    shape, inner = BODIES[request.param]
    return small_model(pooled(shape, inner()), shape), shape


def test_no_rows_give_no_codes_and_rows_the_codes_of_the_branch_alone(branch):
    import tensorflow as tf

    model, shape = branch
    served = signatures.encode_function(model, "image")
    check_nothing(served(tf.constant(rows(0, shape))))
    alone = signatures.encode_function(model, "image", with_no_rows=False)
    for number in (1, 2, 5, 64):
        x = tf.constant(rows(number, shape))
        for name, output in alone(x).items():
            np.testing.assert_array_equal(served(x)[name].numpy(), output.numpy(), strict=True)


@pytest.mark.parametrize("name", ["convolution, 2 dimensions", "depthwise convolution, 2 dimensions"])
def test_onnx_files_give_the_same_codes_without_further_nodes(name, tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    shape, inner = BODIES[name]
    keras.utils.set_random_seed(2)
    model = small_model(pooled(shape, inner()), shape)
    write_onnx(model, "image", tmp_path / "image.onnx")
    graph = onnx.load(tmp_path / "image.onnx").graph
    assert not {node.op_type for node in graph.node if "image" in node.input} & {"Concat", "Shape", "If"}
    session = runtime.InferenceSession(tmp_path / "image.onnx", providers=["CPUExecutionProvider"])
    for number in (0, 1, 5, 64):
        x = rows(number, shape)
        packed, codes = session.run(["packed_codes", "codes"], {"image": x})
        expected = model.encode_image(x, packed=False, verbose=0)
        np.testing.assert_allclose(codes, expected, atol=1e-5, strict=True)
        np.testing.assert_array_equal(packed, pack_codes(codes), strict=True)


@pytest.mark.parametrize("name", ["convolution of planes of any size", "separable convolution, 2 dimensions"])
def test_no_picture_files_give_no_codes(name):
    import tensorflow as tf

    shape, inner = BODIES[name]
    keras.utils.set_random_seed(2)
    pipeline = ImagePipeline(PLANE[:2], pooled(shape, inner()))
    model = small_model(HashBranch(BITS, (8,)), (pipeline.dimensions,))
    serve = signatures.encode_image_bytes_function(model, pipeline)
    check_nothing(serve(tf.constant([], tf.string)))
    files = picture_probes(6)
    expected = model.encode_image(pipeline(files), packed=False, verbose=0)
    for number in (1, 6):
        codes = serve(tf.constant(files[:number]))["codes"]
        np.testing.assert_allclose(codes.numpy(), expected[:number], atol=1e-5, strict=True)
    assert model.encode_image(pipeline([]), verbose=0).shape == (0, BYTES)


def test_no_grey_pictures_give_no_codes():
    import tensorflow as tf

    model = small_model(HashBranch(BITS, (8,)), (PLANE[0] * PLANE[1],))
    check_nothing(
        signatures.encode_image_bytes_function(model, ImagePipeline(PLANE[:2]))(tf.constant([], tf.string))
    )


def test_no_strings_give_no_codes(tmp_path):
    pytest.importorskip("tensorflow_text")
    import tensorflow as tf

    from scbch_keras.export.graphs.text_tensorflow import vocabulary_table

    text = pooled((WORDS.dimensions,), [layers.Reshape((4, 3)), layers.Conv1D(4, 3)])
    model = small_model(HashBranch(BITS, (8,)), (5,), text)
    table = vocabulary_table(WORDS, tmp_path / "words.txt")
    serve = signatures.encode_raw_text_function(model, WORDS, table)
    check_nothing(serve(tf.constant([], tf.string)))
    texts = ["w1 w2", "", "W3"]
    expected = model.encode_text(WORDS(texts), packed=False, verbose=0)
    np.testing.assert_allclose(serve(tf.constant(texts))["codes"].numpy(), expected, atol=1e-5)


def test_no_examples_and_examples_without_a_modality_give_no_codes():
    import tensorflow as tf

    shape, inner = BODIES["convolution, 2 dimensions"]
    text = pooled((WORDS.dimensions,), [layers.Reshape((4, 3)), layers.Conv1D(4, 3)])
    model = small_model(pooled(shape, inner()), shape, text)
    serve = signatures.encode_examples_function(model)
    outputs = serve(tf.constant([], tf.string))
    for modality in ("image", "text"):
        check_nothing(outputs, f"{modality}_")
        assert outputs[f"has_{modality}"].shape == (0,)
    features = {"image": rows(8, shape), "text": rows(8, (WORDS.dimensions,))}
    examples = serialized_examples(features, 8)
    for chosen, has in (([1, 5], (False, False)), ([0, 4], (True, False)), ([3, 7], (False, True))):
        outputs = serve(tf.constant(examples[chosen]))
        for modality, is_there in zip(("image", "text"), has, strict=True):
            assert outputs[f"has_{modality}"].numpy().tolist() == [is_there] * 2
            encode = getattr(model, f"encode_{modality}")
            expected = encode(features[modality][chosen], packed=False, verbose=0) * is_there
            np.testing.assert_allclose(outputs[f"{modality}_codes"].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_model_encodes_no_rows(modality):
    shape, inner = BODIES["convolution, 2 dimensions"]
    text = pooled(LINE, BODIES["convolution, 1 dimension"][1]())
    model = small_model(pooled(shape, inner()), shape, text, LINE)
    nothing = rows(0, {"image": shape, "text": LINE}[modality])
    encode = getattr(model, f"encode_{modality}")
    assert encode(nothing, verbose=0).shape == (0, BYTES)
    assert encode(nothing, packed=False, verbose=0).shape == (0, BITS)
