"""The functions that a release serves, defined once: SavedModel and ONNX files are both made from these."""

from collections.abc import Sequence
from math import prod
from typing import Any

from scbch_keras.export.format.manifest import example_shapes
from scbch_keras.export.graphs.inputs import described_inputs, encoder_inputs, is_named
from scbch_keras.layers import PackBits
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.text import TextPipeline


def encode_function(model: Any, modality: str, free: Sequence[Any] = (), *, with_no_rows: bool = True) -> Any:
    """The encoder of one modality as a `tf.function` with a fixed signature. TensorFlow backend only.

    Features (n, ...) by the names and types of `encoder_inputs` -> {"packed_codes": uint8 (n, ceil(bits / 8)),
    "codes": float32 (n, bits)}, n free. Variables of the branch that are listed in `free` are no part of the
    function: it takes their values as further arguments, "free_0", "free_1" ...

    with_no_rows: whether TensorFlow may run it with n = 0; False for graphs that something else runs.
    """
    import tensorflow as tf

    encode = _encode(getattr(model, f"{modality}_branch"), free)
    encode = _with_no_rows(encode) if with_no_rows else encode
    specs = {
        name: tf.TensorSpec(described.shape, described.dtype, name=name)
        for name, described in encoder_inputs(model)[modality].items()
    }
    spec = specs if is_named(model, modality) else specs[modality]
    return _function(lambda features, *values: encode(features, values), [spec, *_specs(free)])


def _function(function: Any, signature: Sequence[Any]) -> Any:
    """As a graph. AutoGraph would find nothing to change, and take longer to read it than TensorFlow to trace it."""
    import tensorflow as tf

    return tf.function(function, input_signature=list(signature), autograph=False)


def _encode(branch: Any, free: Sequence[Any]) -> Any:
    """A function of features, and of the values of `free`, to the outputs."""
    pack = PackBits()

    def encode(features: Any, values: Sequence[Any]) -> dict[str, Any]:
        codes = _called(branch, features, free, values)
        return {"packed_codes": pack(codes), "codes": codes}

    return encode


def _with_no_rows(encode: Any) -> Any:
    """An encoder of (n, ...) and `values`, n >= 1, as one of n >= 0. Where there are rows it sees them alone."""
    import tensorflow as tf

    # TensorFlow's oneDNN kernels, on by default on processors with AVX512-VNNI or AVX512-BF16, give the shape of
    # its input to a convolution of no rows.
    def encode_any(inputs: Any, values: Sequence[Any]) -> dict[str, Any]:
        rows = tf.shape(tf.nest.flatten(inputs)[0])[0]

        def filled(features: Any) -> Any:
            shape = tf.concat([[tf.cast(rows == 0, tf.int32)], tf.shape(features)[1:]], 0)
            return tf.concat([features, tf.zeros(shape, features.dtype)], 0)

        outputs = encode(tf.nest.map_structure(filled, inputs), values)
        return {name: output[:rows] for name, output in outputs.items()}

    return encode_any


def _called(layer: Any, inputs: Any, free: Sequence[Any], values: Sequence[Any]) -> Any:
    """What `layer` gives at inference with `values` in the place of its variables that are listed in `free`."""
    replacements = {id(variable): value for variable, value in zip(free, values, strict=True)}
    trainable, fixed = (
        [replacements.get(id(variable), variable.value) for variable in variables]
        for variables in (layer.trainable_variables, layer.non_trainable_variables)
    )
    outputs, _ = layer.stateless_call(trainable, fixed, inputs, training=False)
    return outputs


def _specs(free: Sequence[Any]) -> list[Any]:
    import tensorflow as tf

    return [tf.TensorSpec(v.shape, tf.float32, name=f"free_{i}") for i, v in enumerate(free)]


def encode_raw_text_function(model: Any, pipeline: TextPipeline, table: Any) -> Any:
    """The text encoder with the features of `pipeline` in front, as a `tf.function` of strings `text` (n,).

    Outputs as in `encode_function`. table: its vocabulary (`vocabulary_table`). Needs tensorflow-text.
    """
    import tensorflow as tf

    from scbch_keras.export.graphs.text_tensorflow import features_function

    features = features_function(pipeline, table)
    encode = encode_function(model, "text")

    def encode_raw_text(text: Any) -> dict[str, Any]:
        return encode(features(text))

    return _function(encode_raw_text, [tf.TensorSpec([None], tf.string, name="text")])


def encode_pictures_function(model: Any, pipeline: ImagePipeline, free: Sequence[Any] = ()) -> Any:
    """The image encoder with resize and backbone in front: a `tf.function` of `pictures` uint8 (n, h, w, 3).

    n >= 1, h and w are free. Outputs and `free`, from the backbone's and the branch's variables, as in
    `encode_function`.
    """
    import tensorflow as tf

    from scbch_keras.export.graphs.image_tensorflow import resize

    encode = _encode_pixels(model, pipeline, free)
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8, name="pictures")
    return _function(
        lambda pictures, *values: encode(resize(pictures, pipeline.size), values), [spec, *_specs(free)]
    )


def encode_image_bytes_function(model: Any, pipeline: ImagePipeline) -> Any:
    """The image encoder of JPEG and PNG files: a `tf.function` of their bytes, strings `image_bytes` (n,).

    Outputs as in `encode_function`; errors as in `picture_bytes_tensorflow.decode`.
    """
    import tensorflow as tf

    from scbch_keras.export.graphs.image_tensorflow import resize
    from scbch_keras.export.graphs.picture_bytes_tensorflow import decode

    encode = _with_no_rows(_encode_pixels(model, pipeline, ()))

    def pixels(content: Any) -> Any:
        return tf.cast(resize(decode(content)[None], pipeline.size)[0], tf.uint8)

    def encode_image_bytes(image_bytes: Any) -> dict[str, Any]:
        kept = tf.TensorSpec((*pipeline.size, 3), tf.uint8)
        return encode(tf.cast(tf.map_fn(pixels, image_bytes, fn_output_signature=kept), tf.float64), ())

    return _function(encode_image_bytes, [tf.TensorSpec([None], tf.string, name="image_bytes")])


def encode_examples_function(model: Any) -> Any:
    """Both encoders behind serialized tf.Example, as a `tf.function` of strings `examples` (n,).

    An example may have float lists "image" and "text" of the encoders' sizes. Without one, or with an empty one,
    its codes are zeros and has_image or has_text is False. A list of another length is an error of the graph
    (InvalidArgumentError). None where the encoders take rows of any size (`example_shapes`).
    """
    import tensorflow as tf

    rows = example_shapes(described_inputs(model))
    encoders = {modality: encode_function(model, modality) for modality in rows}
    pack = PackBits()

    def codes_of(modality: str, values: Any) -> Any:
        lengths, size = values.row_lengths(), prod(rows[modality])
        fits = tf.debugging.Assert(
            tf.reduce_all((lengths == 0) | (lengths == size)),
            [f"{modality} must be a list of {size} values, or absent; the lengths are", lengths],
            summarize=32,
        )
        with tf.control_dependencies([fits]):
            features = tf.reshape(values.flat_values, [-1, *rows[modality]])
        has = lengths > 0
        codes = tf.cond(
            tf.reduce_any(has),
            lambda: encoders[modality](features)["codes"],
            lambda: tf.zeros((0, model.bits)),
        )
        shape = tf.stack([tf.size(lengths, tf.int64), model.bits])
        return has, tf.ensure_shape(tf.scatter_nd(tf.where(has), codes, shape), (None, model.bits))

    def encode_examples(examples: Any) -> dict[str, Any]:
        lists = {modality: tf.io.RaggedFeature(tf.float32) for modality in rows}
        outputs: dict[str, Any] = {}
        for modality, values in tf.io.parse_example(examples, lists).items():
            has, codes = codes_of(modality, values)
            outputs |= {
                f"{modality}_packed_codes": pack(codes),
                f"{modality}_codes": codes,
                f"has_{modality}": has,
            }
        return outputs

    return _function(encode_examples, [tf.TensorSpec([None], tf.string, name="examples")]) if rows else None


def _encode_pixels(model: Any, pipeline: ImagePipeline, free: Sequence[Any]) -> Any:
    """A function of pixels float64 (n, height, width, 3), whole numbers, and of the values of `free`, to codes."""
    import tensorflow as tf

    from scbch_keras.export.graphs.image_tensorflow import grey_features

    backbone, encode = pipeline.backbone, _encode(model.image_branch, free)

    def encode_pixels(pixels: Any, values: Sequence[Any]) -> dict[str, Any]:
        if backbone is None:
            return encode(grey_features(pixels), values)
        features = _called(backbone, tf.cast(pixels, backbone.inputs[0].dtype), free, values)
        return encode(features, values)

    return encode_pixels
