"""A model's encoders as a TensorFlow SavedModel. TensorFlow backend only."""

import tempfile
from pathlib import Path
from typing import Any

import keras

from scbch_keras.export.graphs.signatures import (
    encode_examples_function,
    encode_function,
    encode_image_bytes_function,
    encode_raw_text_function,
)
from scbch_keras.modalities import MODALITIES
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.text import TextPipeline


def write_saved_model(
    model: Any, folder: Path, pipeline: TextPipeline | None = None, image: ImagePipeline | None = None
) -> None:
    """Write signatures encode_image and encode_text on features, and serving_default on serialized tf.Example
    (encode_image again where rows are of any size).

    With a pipeline also encode_raw_text, whose vocabulary becomes an asset; who loads that must have imported
    tensorflow_text. With an image pipeline also encode_image_bytes. The SavedModel holds the weights of the two
    branches and the backbone, and nothing of training.
    """
    archive = keras.export.ExportArchive()
    functions = {f"encode_{modality}": encode_function(model, modality) for modality in MODALITIES}
    # Registered by hand: Keras would pick whichever endpoint came first.
    functions["serving_default"] = encode_examples_function(model) or functions["encode_image"]
    if image is not None:
        functions["encode_image_bytes"] = encode_image_bytes_function(model, image)
    # Nothing is tracked by hand: Keras takes the variables that the endpoints use, and tracking a layer as
    # well would store each of its weights twice.
    for name, function in functions.items():
        archive.add_endpoint(name, function, input_signature=list(function.input_signature))
    if pipeline is None:
        archive.write_out(str(folder), verbose=False)
        return
    from scbch_keras.export.graphs.text_tensorflow import vocabulary_table

    with tempfile.TemporaryDirectory() as assets:
        table = vocabulary_table(pipeline, Path(assets, "vocabulary.txt"))
        archive.track(table)
        raw = encode_raw_text_function(model, pipeline, table)
        archive.add_endpoint("encode_raw_text", raw, input_signature=list(raw.input_signature))
        archive.write_out(str(folder), verbose=False)
