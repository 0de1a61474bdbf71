"""What a release serves, opened as servers open it: signatures of the SavedModel, and ONNX files."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.format import layouts
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.format.encoder_inputs import DTYPES, tensors
from scbch_keras.export.format.pipelines import opened_pipeline
from scbch_keras.export.serving.session import open_session
from scbch_keras.modalities import MODALITIES
from scbch_keras.preprocessing.onnx_files import onnxruntime

Encode = Callable[[Any], tuple[NDArray[np.uint8], NDArray[np.float32]]]
"""Inputs (n, ...) -> packed codes (n, ceil(bits / 8)) and codes (n, bits)."""


class Endpoint(NamedTuple):
    """One encoder in one format.

    what: its name in the results and messages of a validation.
    encoder: its entry in the manifest: "image", "text", "raw_text", "raw_image".
    form: "saved_model", "onnx" or another ONNX kind.
    open: returns the function that encodes. Sessions of ONNX files are opened one at a time: they hold the weights.
    """

    what: str
    encoder: str
    form: str
    open: Callable[[], Encode]


class Served:
    """A release, opened. Its SavedModel is loaded at the first use and kept."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]):
        self.folder, self.manifest = folder, manifest
        self._saved_model: Any = None

    def endpoints(self) -> Iterator[Endpoint]:
        """Every encoder apart from the one of tf.Example."""
        for encoder, entries in self.manifest["encoders"].items():
            for form, entry in entries.items():
                if form == "saved_model":
                    name = entry["signature"]
                    yield Endpoint(f"saved_model {name}", encoder, form, partial(self._signature, name))
                elif form.startswith("onnx"):
                    what = f"onnx {Path(entry['path']).stem}"
                    yield Endpoint(what, encoder, form, partial(self._onnx, encoder, form))

    def forms(self) -> list[str]:
        """In which its encoders of features are: "saved_model", "onnx" and other ONNX kinds."""
        encoders = self.manifest["encoders"]
        return list(dict.fromkeys(form for modality in MODALITIES for form in encoders[modality]))

    def run(self, signature: str, **inputs: Any) -> dict[str, NDArray[Any]]:
        """One call of a signature of the SavedModel."""
        import tensorflow as tf

        if self._saved_model is None:
            if manifests.RAW_TEXT in self.manifest["encoders"]:
                import tensorflow_text  # noqa: F401  (registers the operations that the graph has)
            path = layouts.saved_model_path(self.manifest["name"], self.manifest["version"])
            manifests.listed(self.folder, self.manifest, f"{path}/saved_model.pb")
            self._saved_model = tf.saved_model.load(str(manifests.inside(self.folder, path)))
        tensors = {key: tf.constant(values) for key, values in inputs.items()}
        outputs = self._saved_model.signatures[signature](**tensors)
        return {key: value.numpy() for key, value in outputs.items()}

    def _signature(self, name: str) -> Encode:
        described = self.manifest["signatures"][name]["inputs"]

        def encode(inputs: Any) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
            outputs = self.run(name, **_tensors(described, inputs))
            return outputs["packed_codes"], outputs["codes"]

        return encode

    def _onnx(self, encoder: str, form: str) -> Encode:
        entry = self.manifest["encoders"][encoder][form]
        signature = self.manifest["signatures"][entry["signature"]]
        start = partial(onnxruntime().InferenceSession, providers=["CPUExecutionProvider"])
        session = open_session(start, self.folder, self.manifest, entry["path"], signature)
        prepare = self._preparation(encoder)

        def encode(inputs: Any) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
            outputs = [
                session.run(["packed_codes", "codes"], _tensors(signature["inputs"], batch))
                for batch in prepare(inputs)
            ]
            packed, codes = (np.concatenate(each) for each in zip(*outputs, strict=True))
            return packed, codes

        return encode

    def _preparation(self, encoder: str) -> Callable[[NDArray[Any]], list[NDArray[Any]]]:
        """What a client does before an ONNX file: inputs -> what its calls are given."""
        if encoder == manifests.RAW_TEXT:
            pipeline, _ = opened_pipeline(self.folder, self.manifest)
            return lambda inputs: [pipeline.normalize(inputs.tolist())]
        if encoder == manifests.RAW_IMAGE:
            from scbch_keras.preprocessing.pictures import decoded

            # Each picture has a size of its own.
            return lambda inputs: [decoded(content)[None] for content in inputs.tolist()]
        return lambda inputs: [inputs]


def _tensors(described: Mapping[str, Mapping[str, Any]], inputs: Any) -> dict[str, Any]:
    """Inputs by name; features as the types that are described."""
    if all(tensor["dtype"] in DTYPES for tensor in described.values()):
        return tensors("features", described, inputs)
    (argument,) = described
    return {argument: inputs}
