"""Branches with several named inputs, as text encoders have them: a dict of arrays through all that a model does."""

import keras
import numpy as np
import pytest

import scbch_keras as sk
from tests.again import Again
from tests.methods import BASELINES, QUICKLY

on_one_backend = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend; runs on torch"
)
rng = np.random.default_rng(0)
IMAGE = rng.random((40, 6)).astype("float32")
LABELS = (rng.random((40, 3)) < 0.5).astype("uint8")
TOKENS = rng.integers(0, 50, (40, 7)).astype("int64")
TEXT = {"token_ids": TOKENS, "padding_mask": TOKENS > 5}


def tokens_of(pool=True):
    ids, mask = (keras.Input((7,), dtype="int32", name=name) for name in ("token_ids", "padding_mask"))
    vectors = keras.layers.Embedding(50, 8)(ids)
    return ids, mask, keras.layers.GlobalAveragePooling1D()(vectors, mask=mask) if pool else vectors


def of_a_dict():
    ids, mask, pooled = tokens_of()
    return keras.Model({"token_ids": ids, "padding_mask": mask}, pooled)


def of_a_list():
    ids, mask, pooled = tokens_of()
    return keras.Model([ids, mask], pooled)


@keras.saving.register_keras_serializable("tests")
class Subclass(keras.Model):
    """Its inputs are known once it is called."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding, self.pool = keras.layers.Embedding(50, 8), keras.layers.GlobalAveragePooling1D()

    def build(self, input_shape):
        self.embedding.build(input_shape["token_ids"])

    def call(self, inputs):
        return self.pool(self.embedding(inputs["token_ids"]), mask=inputs["padding_mask"])

    def compute_output_shape(self, input_shape):
        return (None, 8)


BODIES = {"dict": of_a_dict, "list": of_a_list, "subclass": Subclass}


def model_of(body, method=sk.SCBCH, **settings):
    keras.utils.set_random_seed(0)
    body = body() if callable(body) and not isinstance(body, keras.Model) else body
    if method is sk.SCBCH:
        settings = {"neighbors": 3, "warmup_epochs": 1, **settings}
    model = method(16, num_classes=3, image_branch=sk.HashBranch(16, (8,)), text_branch=body, **settings)
    model.compile(keras.optimizers.Adam(1e-3), **QUICKLY)
    return model


def batches(rows=range(0, 40, 10), text=TEXT):
    for start in rows:
        part = slice(start, start + 10)
        inputs = {name: values[part] for name, values in text.items()}
        yield {"image": IMAGE[part], "text": inputs, "index": np.arange(40)[part]}, LABELS[part]


@pytest.fixture(scope="module")
def trained():
    model = model_of(of_a_dict)
    both = ({"image": IMAGE, "text": TEXT}, LABELS)
    history = model.fit(
        *both,
        epochs=2,
        batch_size=10,
        verbose=0,
        validation_split=0.25,
        callbacks=[sk.RetrievalMetrics(both, both)],
    )
    return model, history.history


def test_it_trains_with_weights_validation_and_metrics(trained):
    _, history = trained
    assert {"val_loss", "i2t_map", "confidence"} < set(history)
    assert all(np.isfinite(values).all() for values in history.values())


@pytest.mark.parametrize(
    "kind",
    ["dict", pytest.param("list", marks=on_one_backend), pytest.param("subclass", marks=on_one_backend)],
)
def test_dicts_lists_and_subclasses_give_the_same_codes_saved_and_loaded_too(tmp_path, kind):
    model = model_of(BODIES[kind])
    model.fit({"image": IMAGE, "text": TEXT}, LABELS, batch_size=10, verbose=0)
    model.text_branch.body.set_weights([np.linspace(-1, 1, 400).reshape(50, 8)])
    model.text_branch.hash_layer.set_weights([np.linspace(-1, 1, 128).reshape(8, 16), np.zeros(16)])
    vectors = np.linspace(-1, 1, 400).reshape(50, 8)[TOKENS]
    pooled = (vectors * (TOKENS > 5)[:, :, None]).sum(1) / np.maximum((TOKENS > 5).sum(1), 1)[:, None]
    expected = np.tanh(pooled @ np.linspace(-1, 1, 128).reshape(8, 16))
    codes = model.encode_text(TEXT, packed=False, verbose=0)
    np.testing.assert_allclose(codes, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode_text(TEXT, packed=False, verbose=0), codes)
    loaded.fit({"image": IMAGE, "text": TEXT}, LABELS, batch_size=10, verbose=0)


def test_encoding_is_the_same_whatever_the_batch_size(trained):
    model, _ = trained
    np.testing.assert_array_equal(
        model.encode_text(TEXT, batch_size=3, verbose=0), model.encode_text(TEXT, verbose=0)
    )
    assert model.encode_text({name: values[:0] for name, values in TEXT.items()}).shape == (0, 2)
    assert set(model.evaluate_retrieval(*[({"image": IMAGE, "text": TEXT}, LABELS)] * 2)) == {
        "i2t_map",
        "t2i_map",
    }


def without(name):
    return {key: values for key, values in TEXT.items() if key != name}


BAD = {
    "missing": (
        without("padding_mask"),
        r"text must be a dict .*'token_ids', 'padding_mask'; 'padding_mask' missing",
    ),
    "too many": ({**TEXT, "segment_ids": TOKENS}, r"text must be a dict .*'segment_ids' must not be there"),
    "one array": (TOKENS, r"text must be a dict .* got one array of shape \("),
    "lengths": ({**TEXT, "padding_mask": TOKENS[:39]}, r"text\['token_ids'\] 40, text\['padding_mask'\] 39"),
    "sizes": ({**TEXT, "padding_mask": TOKENS[:, :6]}, r"text\['padding_mask'\] must have shape \(n, 7\)"),
    "dict in a dict": ({**TEXT, "token_ids": {"a": TOKENS}}, r"text\['token_ids'\] must be one array .*of a"),
    "list of lists": ({**TEXT, "token_ids": [[1], [1, 2]] * 20}, r"text\['token_ids'\] must be an array"),
    "scalar": ({**TEXT, "token_ids": 3}, r"text\['token_ids'\] must"),
    "a number a row": ({**TEXT, "token_ids": TOKENS[:, 0]}, r"text\['token_ids'\] must have"),
    "strings": ({**TEXT, "token_ids": TOKENS.astype(str)}, r"text\['token_ids'\] must hold real numbers"),
    "NaN": (
        {**TEXT, "padding_mask": np.where(TOKENS == 9, np.nan, 1)},
        r"text\['padding_mask'\] must be",
    ),
    "fractions": (
        {**TEXT, "token_ids": TOKENS + 0.5},
        r"text\['token_ids'\] must hold whole numbers.* row 0",
    ),
    "beyond int32": (
        {**TEXT, "token_ids": TOKENS + 2**33},
        r"text\['token_ids'\] must hold integers that int32",
    ),
    "no text as name": ({**TEXT, 3: TOKENS}, "text must be one array .* or a dict of arrays by the names"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_wrong_with_an_input_is_said_by_its_name_before_the_first_step(trained, bad):
    text, message = BAD[bad]
    model, _ = trained
    good, changed = ({"image": IMAGE, "text": values} for values in (TEXT, text))
    calls = [
        lambda: model.fit(changed, LABELS, verbose=0),
        lambda: model.fit(good, LABELS, validation_data=(changed, LABELS), verbose=0),
        lambda: model.fit([({**changed, "index": np.arange(40)}, LABELS)], verbose=0),
        lambda: model.encode_text(text, verbose=0),
        lambda: model.evaluate_retrieval((changed, LABELS), (good, LABELS)),
    ]
    before = model.get_weights()
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_dict_for_a_branch_of_one_input_is_refused(trained):
    model, _ = trained
    with pytest.raises(
        ValueError, match=r"image must be one array \(n, \.\.\.\), since its branch has one input"
    ):
        model.fit({"image": {"pixels": IMAGE}, "text": TEXT}, LABELS, verbose=0)


class Stream:
    def __iter__(self):
        return batches()


class OwnData(keras.utils.PyDataset):
    num_batches = 4

    def __getitem__(self, batch):
        return list(batches())[batch]


def torch_loader():
    torch = pytest.importorskip("torch")

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, row):
            text = {name: values[row] for name, values in TEXT.items()}
            return {"image": IMAGE[row], "text": text, "index": row}, LABELS[row]

    return torch.utils.data.DataLoader(Rows(), 10)


def tf_data():
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(
        ({"image": IMAGE, "text": TEXT, "index": np.arange(40)}, LABELS)
    ).batch(10)


LOADERS = {
    "batches": lambda: list(batches()),
    "stream": Stream,
    "PyDataset": OwnData,
    "torch": torch_loader,
    "tf": tf_data,
}


@pytest.fixture(scope="module")
def again():
    return Again(model_of(of_a_dict), {"image": (None, 6), "text": dict.fromkeys(TEXT, (None, 7))})


@pytest.fixture(scope="module")
def expected_of_loaders(again):
    model = again()
    data = sk.PairDataset(IMAGE, TEXT, LABELS, 10, shuffle=False, seed=0)
    model.fit(data, epochs=2, verbose=0)
    return [weight.copy() for weight in model.get_weights()]


@pytest.mark.parametrize("kind", LOADERS)
def test_loaders_of_dicts_train_as_arrays_do(again, expected_of_loaders, kind):
    model = again()
    model.fit(LOADERS[kind](), epochs=2, verbose=0, validation_data=LOADERS[kind]())
    for expected, actual in zip(expected_of_loaders, model.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def as_refused(body):
    """The models that the refusal of a body says to make, by the code that it prints."""
    with pytest.raises(
        ValueError, match=r"text_branch: body must have one output of shape \(n, d\)"
    ) as refused:
        model_of(body)
    made = []
    for rest in str(refused.value).split("keras.Model(body.input, ")[1:]:
        depth = np.cumsum([{"(": 1, ")": -1}.get(character, 0) for character in rest])
        code = rest[: np.flatnonzero(depth < 0)[0]]
        made.append(keras.Model(body.input, eval(code, {"keras": keras, "body": body})))
    return made


@on_one_backend
def test_a_body_that_does_not_pool_is_refused_with_code_that_does():
    ids, mask, vectors = tokens_of(pool=False)
    body = keras.Model({"token_ids": ids, "padding_mask": mask}, vectors)
    mean, first = as_refused(body)
    tokens = body.predict(TEXT, verbose=0)
    weights = (TOKENS > 5)[:, :, None]
    expected = (tokens * weights).sum(1) / np.maximum(weights.sum(1), 1)
    for pooled, values in ((mean, expected), (first, tokens[:, 0])):
        np.testing.assert_allclose(pooled.predict(TEXT, verbose=0), values, atol=1e-6)
        assert model_of(pooled).text_branch.inputs.known


@on_one_backend
@pytest.mark.parametrize("kind", ["dict", "list"])
def test_of_several_outputs_the_refusal_chooses_one(kind):
    ids, mask, vectors = tokens_of(pool=False)
    outputs = {"sequence_output": vectors, "pooled_output": vectors[:, 0]}
    outputs = outputs if kind == "dict" else [vectors[:, 0], vectors]
    (chosen,) = as_refused(keras.Model({"token_ids": ids, "padding_mask": mask}, outputs))
    assert chosen.output_shape == (None, 8)
    assert model_of(chosen).text_branch.inputs.known


@on_one_backend
@pytest.mark.parametrize("rank", [3, 4, 5])
def test_maps_of_pictures_are_pooled_as_the_refusal_says(rank):
    maps = keras.Input((2,) * (rank - 2) + (6,))
    pooled = as_refused(keras.Model(maps, 2 * maps))[0]
    assert pooled.output_shape == (None, 6)


def transformer():
    """A layer of a transformer, as backbones give it: inputs by name, and a vector a token."""
    inputs = {
        name: keras.Input((7,), dtype="int32", name=name)
        for name in ("token_ids", "padding_mask", "segment_ids")
    }
    ids, mask = inputs["token_ids"], inputs["padding_mask"]
    vectors = keras.layers.Embedding(50, 8)(ids) + keras.layers.Embedding(2, 8)(inputs["segment_ids"])
    attended = keras.layers.MultiHeadAttention(2, 4)(
        vectors, vectors, attention_mask=keras.ops.cast(mask, "bool")[:, None, :]
    )
    tokens = keras.layers.LayerNormalization()(vectors + attended)
    return keras.Model(inputs, {"sequence_output": tokens, "pooled_output": tokens[:, 0]}), tokens


@on_one_backend
@pytest.mark.parametrize("place", [0, 1], ids=["mean", "first token"])
def test_behind_the_mask_of_a_transformer_nothing_counts(place):
    backbone, tokens = transformer()
    assert as_refused(backbone)[0].output_shape == (None, 8)  # its pooled output
    mask_of = np.arange(7)[None] < rng.integers(2, 7, (40, 1))
    text = {"token_ids": TOKENS, "padding_mask": mask_of, "segment_ids": TOKENS % 2}
    model = model_of(as_refused(keras.Model(backbone.input, tokens))[place])
    model.fit({"image": IMAGE, "text": text}, LABELS, epochs=1, batch_size=10, verbose=0)
    other = {**text, "token_ids": np.where(mask_of, TOKENS, 49)}
    codes = model.encode_text(text, packed=False, verbose=0)
    np.testing.assert_allclose(model.encode_text(other, packed=False, verbose=0), codes, atol=1e-6)


@on_one_backend
def test_a_body_whose_output_is_known_once_it_is_called_is_refused_with_the_same_remedy():
    class Unpooled(Subclass):
        def call(self, inputs):
            return self.embedding(inputs["token_ids"])

        def compute_output_shape(self, input_shape):
            return (None, 7, 8)

    with pytest.raises(ValueError, match=r"\(n, d\).*Pool it: .*\(body\(inputs\)\)"):
        model_of(Unpooled()).fit({"image": IMAGE, "text": TEXT}, LABELS, epochs=1, verbose=0)


def test_inputs_in_inputs_are_refused_where_the_model_is_made():
    ids, mask, pooled = tokens_of()
    nested = keras.Model({"tokens": {"ids": ids, "mask": mask}}, pooled)
    with pytest.raises(
        ValueError, match=r"body must have one input or several named ones.*'tokens' is a dict"
    ):
        model_of(nested)


@pytest.mark.parametrize("method", ["djsrh", "dgcpn"])
def test_methods_that_compare_features_say_so(method):
    with pytest.raises(ValueError, match=r"text must be one array .* compares features of samples"):
        model_of(of_a_dict, BASELINES[method]).fit({"image": IMAGE, "text": TEXT}, LABELS, verbose=0)


@on_one_backend
@pytest.mark.parametrize("method", ["dcmh", "nrch", "infonce"])
def test_other_methods_train_on_them(method):
    history = model_of(of_a_dict, BASELINES[method]).fit(
        {"image": IMAGE, "text": TEXT}, LABELS, batch_size=20, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()


@on_one_backend
def test_the_posterior_wants_features_apart_and_training_takes_its_probabilities():
    with pytest.raises(ValueError, match=r"text must be one array \(n, d\) .* Give features apart"):
        sk.posterior.estimate(IMAGE, TEXT, LABELS)
    probabilities = sk.posterior.estimate(IMAGE, rng.random((40, 5)), LABELS).probabilities
    model = model_of(of_a_dict, labels="posterior")
    assert np.isfinite(
        model.fit({"image": IMAGE, "text": TEXT}, probabilities, verbose=0).history["loss"]
    ).all()


def test_samples_that_turn_bad_in_one_input_are_named(trained):
    ids, mask = keras.Input((7,), name="token_ids"), keras.Input((7,), name="weights")
    body = keras.Model({"token_ids": ids, "weights": mask}, ids * mask)
    text = {"token_ids": TOKENS.astype("float32"), "weights": np.ones((40, 7), "float32")}

    class Loader:
        passes = 0

        def __iter__(self):
            Loader.passes += 1
            for x, y in batches(text=text):
                if Loader.passes > 2 and 13 in x["index"]:
                    x["text"]["weights"] = np.where(x["index"] == 13, np.nan, 1)[:, None] * np.ones(
                        (1, 7), "float32"
                    )
                yield x, y

    model = model_of(body, warmup_epochs=5)
    with pytest.warns(UserWarning, match=r"1 sample \(index 13\) held NaN or inf"):
        history = model.fit(Loader(), epochs=3, verbose=0).history
    assert sum(history["skipped"]) >= 1
