"""Backbones of KerasHub as branches and as features of pictures: small ones, made here, nothing downloaded."""

import re

import keras
import numpy as np
import pytest

from scbch_keras import SCBCH, HashBranch, export
from scbch_keras.training.features.images import image_backbone

hub = pytest.importorskip("keras_hub")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend; runs on torch"),
]
rng = np.random.default_rng(0)
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16}
PIXELS = rng.random((40, 32, 32, 3)).astype("float32")
LENGTHS = rng.integers(3, 13, (40, 1))
TEXT = {
    "token_ids": rng.integers(1, 60, (40, 12)).astype("int32"),
    "padding_mask": (np.arange(12)[None] < LENGTHS).astype("int32"),
}
LABELS = (rng.random((40, 3)) < 0.5).astype("uint8")


def vit():
    return hub.models.ViTBackbone(image_shape=(32, 32, 3), patch_size=(8, 8), mlp_dim=32, **SMALL)


def roberta():
    return hub.models.RobertaBackbone(
        vocabulary_size=60, intermediate_dim=32, max_sequence_length=12, **SMALL
    )


def bert():
    return hub.models.BertBackbone(vocabulary_size=60, intermediate_dim=32, max_sequence_length=12, **SMALL)


def pooled(body):
    """As the refusal says: the first code that it prints."""
    with pytest.raises(ValueError, match=r"keras\.Model\(body\.input, ") as refused:
        HashBranch(16, body=body)
    code = re.search(r"keras\.Model\(body\.input, .*?\)(?=, (and|or) )", str(refused.value))[0]
    return eval(code, {"keras": keras, "body": body})


@pytest.mark.release
def test_a_vit_and_a_roberta_train_are_saved_and_released_whole(tmp_path):
    keras.utils.set_random_seed(0)
    model = SCBCH(16, 3, image_branch=pooled(vit()), text_branch=pooled(roberta()), neighbors=3)
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    model.fit({"image": PIXELS, "text": TEXT}, LABELS, epochs=1, batch_size=10, verbose=0)
    expected = {"image": model.encode_image(PIXELS, verbose=0), "text": model.encode_text(TEXT, verbose=0)}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode_image(PIXELS, verbose=0), expected["image"])
    np.testing.assert_array_equal(loaded.encode_text(TEXT, verbose=0), expected["text"])
    encoder = export.HashEncoder(export.release(model, tmp_path / "photos").path)
    np.testing.assert_array_equal(encoder.image(PIXELS), expected["image"])
    np.testing.assert_array_equal(encoder.text(TEXT), expected["text"])


def test_of_a_bert_the_pooled_output_is_taken():
    assert pooled(bert()).output_shape == (None, 16)


def test_a_preset_in_a_folder_gives_features_of_pictures(tmp_path):
    backbone = vit()
    backbone.save_to_preset(tmp_path / "vit")
    hub.layers.ViTImageConverter(image_size=(32, 32), scale=1 / 255).save_to_preset(tmp_path / "vit")
    features = image_backbone(f"keras-hub:{tmp_path / 'vit'}")
    pictures = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    expected = keras.ops.convert_to_numpy(backbone(pictures.astype("float32") / 255)).mean(1)
    np.testing.assert_allclose(features(pictures), expected, atol=1e-5)
