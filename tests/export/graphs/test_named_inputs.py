"""Encoders with several named inputs, and with whole numbers, in every format of a release: the model's codes."""

import json

import keras
import numpy as np
import pytest

from scbch_keras import SCBCH, export
from scbch_keras.codes import pack_codes
from scbch_keras.export.graphs.inputs import encoder_inputs
from scbch_keras.export.releasing import arguments
from scbch_keras.export.service.limits import Limits
from scbch_keras.export.service.metrics import Metrics
from scbch_keras.export.service.work import Work
from scbch_keras.export.validation.evaluation import Evaluation
from scbch_keras.preprocessing.text import TextPipeline

pytestmark = [
    pytest.mark.release,
    pytest.mark.skipif(
        keras.backend.backend() == "jax", reason="a release by child processes, as on torch; runs there"
    ),
]
rng = np.random.default_rng(0)
WORDS = rng.integers(0, 30, (40, 5))
TOKENS = rng.integers(0, 50, (40, 7))
TEXT = {"token_ids": TOKENS, "padding_mask": TOKENS > 5, "weights": rng.random((40, 7))}
LABELS = (rng.random((40, 3)) < 0.5).astype("uint8")


def model_of_tokens():
    ids, mask = (keras.Input((7,), dtype="int32", name=name) for name in ("token_ids", "padding_mask"))
    weights = keras.Input((7,), name="weights")
    vectors = keras.layers.Embedding(50, 8)(ids) * weights[:, :, None]
    pooled = keras.layers.GlobalAveragePooling1D()(vectors, mask=mask)
    text = keras.Model({"token_ids": ids, "padding_mask": mask, "weights": weights}, pooled)
    words = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(30, 8),
            keras.layers.GlobalAveragePooling1D(),
        ]
    )
    return SCBCH(16, 3, image_branch=words, text_branch=text, neighbors=3)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = model_of_tokens()
    model.build({"image": (None, 5), "text": dict.fromkeys(TEXT, (None, 7))})
    both = ({"image": WORDS, "text": TEXT}, LABELS)
    folder = tmp_path_factory.mktemp("tokens") / "tokens"
    made = export.release(model, folder, evaluation=Evaluation.of(both, both))
    return model, made


def expected(model):
    return {
        "image": model.encode_image(WORDS, packed=False, verbose=0),
        "text": model.encode_text(TEXT, packed=False, verbose=0),
    }


def test_every_format_was_verified_and_measured(released):
    _, made = released
    verified = made.manifest["verification"]["encoders"]
    for what in (
        "saved_model encode_text",
        "onnx text",
        "HashEncoder text",
        "onnx image",
        "HashEncoder image",
    ):
        assert verified[what]["bits_different"] == 0
        assert verified[what]["bits_compared"] > 10000
    scores = made.manifest["evaluation"]["map"]
    assert scores["onnx"] == scores["saved_model"]


def test_one_named_input_a_key_with_its_type(released):
    _, made = released
    types = {"token_ids": "int32", "padding_mask": "int32", "weights": "float32"}
    described = {name: {"shape": [None, 7], "dtype": dtype} for name, dtype in types.items()}
    assert made.manifest["signatures"]["encode_text"]["inputs"] == described
    assert made.manifest["signatures"]["encode_image"]["inputs"] == {
        "image": {"shape": [None, 5], "dtype": "int32"}
    }
    assert json.loads((made.path / "manifest.json").read_text())["signatures"] == made.manifest["signatures"]
    config = (made.path / "triton" / "tokens_text" / "config.pbtxt").read_text()
    assert [config.count(f'name: "{name}"') for name in types] == [1, 1, 1]


def test_onnxruntime_and_hash_encoder_give_the_models_codes(released):
    import onnxruntime

    model, made = released
    codes = expected(model)
    encoder = export.HashEncoder(made.path)
    np.testing.assert_array_equal(encoder.text(TEXT, batch_size=7), pack_codes(codes["text"]))
    np.testing.assert_array_equal(encoder.image(WORDS), pack_codes(codes["image"]))
    session = onnxruntime.InferenceSession(str(made.path / "text.onnx"))
    assert {tensor.name for tensor in session.get_inputs()} == set(TEXT)
    types = {"token_ids": "int32", "padding_mask": "int32", "weights": "float32"}
    feed = {name: values.astype(types[name]) for name, values in TEXT.items()}
    np.testing.assert_allclose(session.run(["codes"], feed)[0], codes["text"], atol=1e-6)
    assert encoder.text({name: values[:0] for name, values in TEXT.items()}).shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TOKENS,
            r"text features must be a dict of arrays, .*'token_ids', 'padding_mask', 'weights'; got one array",
        ),
        ({"token_ids": TOKENS}, "'padding_mask', 'weights' missing"),
        ({**TEXT, "more": TOKENS}, "'more' must not be there"),
        ({**TEXT, "weights": TOKENS[:3]}, r"same number of rows in each input; got .*\['weights'\] 3"),
        ({**TEXT, "weights": TOKENS[:, :3]}, r"\['weights'\] must have shape \(n, 7\)"),
        ({**TEXT, "token_ids": TOKENS + 0.5}, r"\['token_ids'\] must hold whole numbers.* row 0"),
        ({**TEXT, "token_ids": {"ids": TOKENS}}, r"\['token_ids'\] must be one array"),
        ({**TEXT, "weights": np.full((40, 7), np.nan)}, r"\['weights'\] must be finite; row 0"),
        (["a dog"], "got strings: the release .* takes none"),
    ],
)
def test_what_the_encoder_does_not_take_is_said_by_name(released, text, message):
    with pytest.raises(ValueError, match=message):
        export.HashEncoder(released[1].path).text(text)


def test_an_evaluation_of_dicts_is_stored_and_read(tmp_path):
    both = ({"image": WORDS, "text": TEXT}, LABELS)
    Evaluation.of(both, both).save(tmp_path / "e.npz")
    for name, values in Evaluation.load(tmp_path / "e.npz").query.features["text"].items():
        np.testing.assert_array_equal(values, TEXT[name])


def test_the_service_and_pipelines_of_one_array_refuse_it(released):
    model, made = released
    with pytest.raises(ValueError, match=r"its text encoder has the inputs token_ids.*HashEncoder"):
        Work(made.path, None, Limits(), Metrics())
    with pytest.raises(ValueError, match="text must be None: the text branch takes the inputs token_ids"):
        arguments.check_text(model, TextPipeline(["a", "dog"]))


def of_layers(ids, mask):
    return keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 8)(ids), mask=mask)


def of_itself(ids, mask):
    return backbone(ids, mask)({"token_ids": ids, "padding_mask": mask})


def of_a_dict(ids, mask):
    return backbone(*inputs_of())({"padding_mask": mask, "token_ids": ids})


def of_a_list(ids, mask):
    inner = inputs_of()
    return keras.Model(list(inner), of_layers(*inner))([ids, mask])


def within_a_model(ids, mask):
    inner = inputs_of()
    return backbone(*inner, of_a_list(*inner))({"token_ids": ids, "padding_mask": mask})


def backbone(ids, mask, output=None):
    inputs = {"token_ids": ids, "padding_mask": mask}
    return keras.Model(inputs, of_layers(ids, mask) if output is None else output)


def inputs_of():
    return tuple(keras.Input((7,), dtype="int32", name=name) for name in ("token_ids", "padding_mask"))


@pytest.mark.parametrize("made", [of_layers, of_itself, of_a_dict, of_a_list, within_a_model])
def test_token_ids_and_masks_are_told_apart_however_deep_the_embedding(made):
    ids, mask = inputs_of()
    body = keras.Model({"token_ids": ids, "padding_mask": mask}, made(ids, mask))
    model = SCBCH(16, 3, text_branch=body, neighbors=3)
    model.build({"image": (None, 5), "text": dict.fromkeys(("token_ids", "padding_mask"), (None, 7))})
    below = {name: given.below for name, given in encoder_inputs(model)["text"].items()}
    assert below == {"token_ids": 50, "padding_mask": 2}
