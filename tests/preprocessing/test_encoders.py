"""ONNX encoders of texts and pictures: tokens, pooling and pixels are what they are said to be, or are refused."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from scbch_keras.preprocessing.image_encoder import ImageEncoder
from scbch_keras.preprocessing.pooling import pooled, unit_rows
from scbch_keras.preprocessing.text_encoder import TextEncoder
from tests import encoders

pytestmark = pytest.mark.numpy_only
TEXTS = ["a red mug", "", "the sea", "A RED mug", "zebra of the zoo", "the " * 40]


def test_a_mean_over_the_mask_and_a_first_token_are_the_same_bits_whatever_is_masked():
    tokens = np.random.default_rng(0).standard_normal((5, 7, 6)).astype("float32")
    padded = np.concatenate([tokens, np.full((5, 3, 6), 1e6, "float32")], axis=1)
    mask = np.r_[np.ones(7), np.zeros(3)][None].repeat(5, axis=0)
    np.testing.assert_array_equal(pooled(padded, "mean", mask), pooled(tokens, "mean"))
    np.testing.assert_allclose(pooled(tokens, "mean"), tokens.mean(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(pooled(padded, "cls", mask), tokens[:, 0])
    assert not pooled(tokens, "mean", np.zeros((5, 7))).any()
    np.testing.assert_allclose(np.linalg.norm(unit_rows(tokens[:, 0]), axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [False, True])
def test_texts_become_the_pooled_vectors_of_their_tokens_alone_or_among_others(tmp_path, pooling, normalize):
    settings = {"pooling": pooling, "normalize": normalize, "max_tokens": 8}
    encoder = TextEncoder.open(encoders.text_encoder(tmp_path, settings))
    features = encoder(TEXTS)
    assert features.shape == (6, encoders.WIDTH) == (6, encoder.dimensions)
    np.testing.assert_array_equal(features, np.concatenate([encoder([text]) for text in TEXTS]))
    np.testing.assert_array_equal(features[0], features[3])  # the tokenizer's own normalisation
    table = np.random.default_rng(0).standard_normal((len(encoders.WORDS), encoders.WIDTH)).astype("float32")
    running = table[[2, 11, 10, 3]].cumsum(axis=0)  # [CLS] the sea [SEP]
    expected = running.mean(axis=0) if pooling == "mean" else running[0]
    expected = expected / np.linalg.norm(expected) if normalize else expected
    np.testing.assert_allclose(features[2], expected, rtol=1e-5)
    assert encoder.cut(TEXTS) == 1
    assert encoder.known(TEXTS).tolist() == [3, 0, 2, 3, 2, 1]
    assert encoder.unknown(TEXTS)[4] == ["zebra", "zoo"]


def test_a_network_that_pools_itself_is_taken_as_it_is(tmp_path):
    encoder = TextEncoder.open(encoders.text_encoder(tmp_path, {"max_tokens": 8}, rank=2))
    assert encoder.settings["pooling"] == "none"
    assert encoder(TEXTS).shape == (6, encoders.WIDTH)


def test_a_text_without_any_token_is_a_row_of_zeros(tmp_path):
    folder = encoders.text_encoder(tmp_path)
    encoders.tokenizer(folder, added=False)
    assert not TextEncoder.open(folder)([""]).any()


def test_settings_are_read_from_the_files_of_sentence_transformers(tmp_path):
    folder = encoders.text_encoder(tmp_path, {})
    (folder / "1_Pooling").mkdir()
    modes = {"word_embedding_dimension": 6, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps(modes))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    parts = [
        {"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling", "Normalize")
    ]
    (folder / "modules.json").write_text(json.dumps(parts))
    settings = TextEncoder.open(folder).settings
    assert (settings["pooling"], settings["normalize"], settings["max_tokens"]) == ("cls", True, 5)
    (folder / "encoder.json").write_text('{"pooling": "mean"}')  # one's own word goes first
    assert TextEncoder.open(folder).settings["pooling"] == "mean"
    parts.append({"type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(ValueError, match=r"modules\.json has Dense, which is not computed here"):
        TextEncoder.open(folder)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"max_tokens": 8}, {}, r'a row a token, and nothing says .* write \{"pooling": "mean"\}'),
        ({"pooling": "mean"}, {}, r'nothing says how many tokens .* write \{"max_tokens": 512\}'),
        (
            {"pooling": "mean", "max_tokens": 8},
            {"rank": 2},
            r"'mean' takes an output float32 \(n, tokens, d\)",
        ),
        (
            {"pooling": "none", "max_tokens": 8},
            {},
            r"'none' takes an output float32 \(n, d\), got last_hidden_state",
        ),
        (
            {"pooling": "max", "max_tokens": 8},
            {},
            r"encoder\.json: pooling must be one of 'mean', 'cls', 'none'",
        ),
        ({"poling": "mean"}, {}, r"there is no setting 'poling'; there are pooling, normalize, max_tokens"),
        ({"max_tokens": 0}, {}, "max_tokens must be an int of at least 1; got 0"),
        ({"output": "pooler"}, {}, "output: expected one of last_hidden_state, got 'pooler'"),
        (
            None,
            {"names": ("ids", "attention_mask")},
            "expected the inputs input_ids .* got ids, attention_mask",
        ),
        (
            None,
            {"names": ("input_ids", "position_ids")},
            "got input_ids, position_ids: export the network with",
        ),
        (
            None,
            {"axes": ("batch", 16)},
            r"axis 1 \(tokens\) of input_ids is fixed at 16, and must be free: .*dynamic_axes",
        ),
        (None, {"axes": (1, "tokens")}, r"axis 0 \(batch\) of input_ids is fixed at 1"),
        (
            None,
            {"axes": ("batch", "tokens", "more")},
            r"int32 \(batch, tokens\), got int64 \[None, None, None\]",
        ),
    ],
)
def test_an_unfit_text_encoder_is_refused_with_what_to_do(tmp_path, settings, options, message):
    folder = encoders.text_encoder(tmp_path, settings, **options)
    with pytest.raises(ValueError, match=message):
        TextEncoder.open(folder)


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_is_refused(tmp_path, missing):
    folder = encoders.text_encoder(tmp_path)
    (folder / missing).unlink()
    (folder / "model.safetensors").touch()
    with pytest.raises(
        ValueError, match=r"expected (an \.onnx file in the folder, got none .*optimum-cli|tokenizer)"
    ):
        TextEncoder.open(folder)


def test_an_encoder_that_is_another_by_now_is_refused(tmp_path):
    encoder = TextEncoder.open(encoders.text_encoder(tmp_path / "one"))
    config = json.loads(json.dumps(encoder.config()))
    np.testing.assert_array_equal(TextEncoder.from_config(config)(TEXTS), encoder(TEXTS))
    encoders.tokenizer(tmp_path / "one", added=False)
    with pytest.raises(ValueError, match="is not what it was: sha256"):
        TextEncoder.from_config(config)
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"tokenizer\.json has changed since it was opened"):
        encoder.save(tmp_path / "out")


def test_what_was_saved_gives_the_same_bits(tmp_path):
    text = TextEncoder.open(encoders.text_encoder(tmp_path / "text"))
    image = ImageEncoder.open(encoders.image_encoder(tmp_path / "image"))
    pictures = np.random.default_rng(2).integers(0, 256, (5, 30, 20, 3), np.uint8)
    (tmp_path / "out").mkdir()
    for encoder in (text, image):
        encoder.save(tmp_path / "out")
    np.testing.assert_array_equal(TextEncoder.load(tmp_path / "out")(TEXTS), text(TEXTS))
    np.testing.assert_array_equal(ImageEncoder.load(tmp_path / "out")(pictures), image(pictures))
    (tmp_path / "out/text_encoder.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected a file of TextEncoder\.save: it has no 'schema'"):
        TextEncoder.load(tmp_path / "out")


@pytest.mark.parametrize("first", [True, False])
def test_pictures_become_normalised_pixels_and_places_are_averaged(tmp_path, first):
    encoder = ImageEncoder.open(encoders.image_encoder(tmp_path, first=first))
    pictures = np.random.default_rng(2).integers(0, 256, (3, 12, 8, 3), np.uint8)
    pixels = (pictures / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    weights = np.random.default_rng(1).standard_normal((4, 3, 4, 4)).astype("float32")
    patches = pixels.reshape(3, 3, 4, 2, 4, 3)  # n, rows, y, columns, x, channel
    expected = np.einsum("nrycxk,dkyx->nrcd", patches, weights).mean(axis=(1, 2))
    np.testing.assert_allclose(encoder(pictures), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(encoder(list(pictures)), encoder(pictures))
    assert encoder(pictures[:0]).shape == (0, 4)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({}, {}, r"say which with size=\(height, width\), or in encoder\.json"),
        (
            {"size": [12, 8]},
            {},
            r"\(n, d\), got float32 \(1, 4, 3, 2\) with pooling 'none'; .*\"pooling\" is \"mean\"",
        ),
        ({"size": [12, 8], "pooling": "cls"}, {}, r"pooling 'cls' takes an output \(n, tokens, d\)"),
        ({"size": [12, 8], "mean": [0, 0, 0]}, {}, "mean and std go together"),
        (
            {"size": [12, 8], "mean": [0, 0, 0], "std": [1, 0, 1]},
            {},
            "std must be a finite number above 0; got 0",
        ),
        ({"size": [12]}, {}, r"size must be two whole numbers \[height, width\]"),
        ({"size": [12, 8]}, {"shape": ["n", 3, 16, 16]}, r"takes pictures of 16 x 16, got \(12, 8\)"),
        ({"crop": 1}, {}, "there is no setting 'crop'"),
    ],
)
def test_an_unfit_image_encoder_is_refused_with_what_to_do(tmp_path, settings, options, message):
    folder = encoders.image_encoder(tmp_path, settings, **options)
    with pytest.raises(ValueError, match=message):
        ImageEncoder.open(folder)


def test_what_travels_parts_texts_and_what_stayed_makes_features_of_the_parts(tmp_path):
    encoder = TextEncoder.open(encoders.text_encoder(tmp_path))
    parted = [pickle.loads(pickle.dumps(encoder)).counted(text) for text in TEXTS]
    assert [len(tokens) for tokens, _ in parted] == encoder.known(TEXTS).tolist()
    assert [unknown for _, unknown in parted] == encoder.unknown(TEXTS)
    np.testing.assert_array_equal(encoder.weighted((tokens for tokens, _ in parted), 6), encoder(TEXTS))
    with pytest.raises(ValueError, match="has no network to run"):
        pickle.loads(pickle.dumps(encoder))(TEXTS)


def test_strings_without_the_package_tokenizers_name_the_extra(tmp_path):
    folder = encoders.text_encoder(tmp_path)
    program = (
        "import sys; sys.modules['tokenizers'] = None\n"
        "from scbch_keras.preprocessing.text_encoder import TextEncoder\n"
        f"TextEncoder.open({str(folder)!r})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 1
    assert "ImportError: " in run.stderr
    assert "pip install 'scbch_keras[encoders]'" in run.stderr
