"""A model's encoders as a TensorFlow SavedModel. TensorFlow backend only."""

from pathlib import Path
from typing import Any

import keras

from scbch_keras.export.manifest import MODALITIES
from scbch_keras.export.signatures import encode_function


def write_saved_model(model: Any, folder: Path) -> None:
    """Write signatures encode_image and encode_text, and serving_default, which is encode_image.

    The SavedModel holds the weights of the two branches and nothing of training.
    """
    archive = keras.export.ExportArchive()
    functions = {f"encode_{modality}": encode_function(model, modality) for modality in MODALITIES}
    # Registered by hand: Keras would pick whichever endpoint came first.
    functions["serving_default"] = functions["encode_image"]
    # Nothing is tracked by hand: Keras takes the variables that the endpoints use, and tracking a layer as
    # well would store each of its weights twice.
    for name, function in functions.items():
        archive.add_endpoint(name, function, input_signature=list(function.input_signature))
    archive.write_out(str(folder), verbose=False)
