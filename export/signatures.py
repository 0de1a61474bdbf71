"""The functions that a release serves, defined once: SavedModel and ONNX files are both made from these."""

from typing import Any

from scbch_keras.export.manifest import MODALITIES
from scbch_keras.layers import PackBits


def input_shapes(model: Any) -> dict[str, list[int | None]]:
    """Modality -> shape of its input, batch first and None. The model must be built."""
    shapes = model.get_build_config()["input_shape"]
    return {modality: [None, *shapes[modality][1:]] for modality in MODALITIES}


def encode_function(model: Any, modality: str) -> Any:
    """The encoder of one modality as a `tf.function` with a fixed signature. TensorFlow backend only.

    Features (n, ...) float32, named for the modality -> {"packed_codes": uint8 (n, ceil(bits / 8)),
    "codes": float32 (n, bits)}, n free.
    """
    import tensorflow as tf

    branch = getattr(model, f"{modality}_branch")
    pack = PackBits()

    def encode(features: Any) -> dict[str, Any]:
        codes = branch(features, training=False)
        return {"packed_codes": pack(codes), "codes": codes}

    shape = input_shapes(model)[modality]
    return tf.function(encode, input_signature=[tf.TensorSpec(shape, tf.float32, name=modality)])
