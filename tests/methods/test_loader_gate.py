"""Batches of loaders, of training and of validation, go through the one gate of arrays, on each backend."""

import keras
import numpy as np
import pytest

import scbch_keras as sk
from tests.again import Again
from tests.methods import QUICKLY

rng = np.random.default_rng(0)
IMAGE = rng.integers(0, 2, (40, 6)).astype("float32")
TEXT = rng.integers(0, 2, (40, 5)).astype("float32")
LABELS = (rng.random((40, 3)) < 0.5).astype("uint8")
SIZE = 10


def reduced(values):
    return values.astype(pytest.importorskip("ml_dtypes").bfloat16)


def of_torch(kind):
    def make(values):
        torch = pytest.importorskip("torch")
        return torch.from_numpy(np.array(values)).to(getattr(torch, kind))

    return make


def of_tensorflow(kind):
    return lambda values: pytest.importorskip("tensorflow").constant(values, kind)


FORMS = {
    kind: lambda values, kind=kind: values.astype(kind)
    for kind in (">f4", ">f8", ">i4", "int64", "uint64", "f2")
}
FORMS |= {
    "bfloat16": reduced,
    "torch bfloat16": of_torch("bfloat16"),
    "torch float64": of_torch("float64"),
    "tensorflow bfloat16": of_tensorflow("bfloat16"),
    "tensorflow uint64": of_tensorflow("uint64"),
    "lists": lambda values: values.tolist(),
}


TORCH = keras.backend.backend() == "torch"
# Where a training takes seconds, images have one form and texts the next.
PAIRS = list(zip(FORMS, FORMS, strict=True) if TORCH else zip([*FORMS][::2], [*FORMS][1::2], strict=True))


def same(values):
    return values


def batches(form=same, index=same, text_form=None):
    text_form = form if text_form is None else text_form
    for start in range(0, 40, SIZE):
        rows = slice(start, start + SIZE)
        x = {"image": form(IMAGE[rows]), "text": text_form(TEXT[rows]), "index": index(np.arange(40)[rows])}
        yield x, form(LABELS[rows]), text_form(np.ones(SIZE))


class OwnData(keras.utils.PyDataset):
    def __init__(self, made):
        super().__init__()
        self.made = made

    @property
    def num_batches(self):
        return len(self.made)

    def __getitem__(self, batch):
        return self.made[batch]


def torch_loader(made):
    torch = pytest.importorskip("torch")
    return torch.utils.data.DataLoader(made, batch_size=None, collate_fn=lambda batch: batch)


LOADERS = {"list": list, "PyDataset": OwnData, "torch": torch_loader}


def new_model():
    model = sk.SCBCH(16, 3, sk.HashBranch(16, (8,)), sk.HashBranch(16, (8,)), neighbors=3, warmup_epochs=1)
    model.compile(keras.optimizers.Adam(1e-3), **QUICKLY)
    return model


@pytest.fixture(scope="module")
def model_of():
    """A function that gives one model, as it was made."""
    again = Again(new_model(), {"image": (None, 6), "text": (None, 5)})

    def model():
        keras.utils.set_random_seed(0)
        return again()

    return model


@pytest.fixture(scope="module")
def trained(model_of):
    def train(loader, validation):
        model = model_of()
        history = model.fit(loader, epochs=2, verbose=0, validation_data=validation).history
        return history, [weight.copy() for weight in model.get_weights()]

    return train


@pytest.fixture(scope="module")
def expected(trained):
    plain = list(batches())
    return trained(plain, plain)


@pytest.mark.parametrize("pair", PAIRS, ids=", ".join)
def test_batches_of_every_form_train_to_the_same_bits(trained, expected, pair):
    form, text_form = (FORMS[name] for name in pair)
    made = list(batches(form, text_form=text_form))
    wrapped = LOADERS[list(LOADERS)[PAIRS.index(pair) % len(LOADERS)]](made)
    history, weights = trained(wrapped, made)
    assert history == expected[0]
    for actual, other in zip(weights, expected[1], strict=True):
        np.testing.assert_array_equal(actual, other)


@pytest.mark.parametrize("kind", ["uint64", ">i8", "uint8"] if TORCH else ["uint64"])
def test_an_index_of_any_integer_type_is_taken(trained, expected, kind):
    made = list(batches(index=lambda values: values.astype(kind)))
    assert trained(made, list(batches()))[0] == expected[0]


def test_tensorflow_datasets_are_read_by_the_same_gate(trained, model_of, expected):
    tf = pytest.importorskip("tensorflow")
    x = {"image": tf.cast(IMAGE, "bfloat16"), "text": TEXT.astype("int64"), "index": np.arange(40)}
    data = tf.data.Dataset.from_tensor_slices((x, LABELS, np.ones(40))).batch(SIZE)
    assert trained(data, data)[0] == expected[0]
    wide = tf.data.Dataset.from_tensor_slices(({**x, "text": TEXT.astype("int64") * 2**40}, LABELS)).batch(
        SIZE
    )
    sparse = data.map(lambda x, y, w: ({**x, "text": tf.sparse.from_dense(x["text"])}, y, w))
    for bad, message in ((wide, "int32 can hold; row"), (sparse, "text must be a dense array")):
        with pytest.raises(
            ValueError, match=rf"validation_data: the loader, batch 0: text .*{message}|dense"
        ):
            model_of().fit(data, validation_data=bad, verbose=0)
        with pytest.raises(ValueError, match=r"^the loader, batch 0: text"):
            model_of().fit(bad, verbose=0)


def sparse(values):
    return pytest.importorskip("scipy.sparse").csr_matrix(values)


def with_value(value, kind="float64"):
    def change(values):
        values = values.astype(kind)
        values[3, 0] = value
        return values

    return change


BAD = {
    "sparse": (sparse, "{name} must be a dense array; got sparse"),
    "torch sparse": (
        lambda values: of_torch("float32")(values).to_sparse(),
        "{name} must be a dense array; got sparse",
    ),
    "masked": (
        lambda values: np.ma.masked_array(values, mask=values > 0.5),
        "{name} must not be masked; row",
    ),
    "complex": (lambda values: values.astype("complex64"), "{name} must hold real numbers"),
    "strings": (lambda values: values.astype(str), "{name} must hold real numbers"),
    "objects": (lambda values: values.astype(object), "{name} must hold real numbers"),
    "ragged": (lambda values: [[1.0], *values.tolist()[1:]], "{name} must be an array of real numbers"),
    "NaN": (with_value(np.nan), "{name} must be finite; row 23"),
    "NaN in the other byte order": (with_value(np.nan, ">f4"), "{name} must be finite; row 23"),
    "beyond float32": (with_value(1e39), "{name} must be finite as float32; row 23"),
    "beyond int32": (with_value(2**40, "int64"), "{name} must hold integers that int32 can hold; row 23"),
    "unsigned beyond int32": (
        with_value(2**63, "uint64"),
        "{name} must hold integers that int32 can hold; row 23",
    ),
}


def spoiled(bad, name, batch=2):
    made = list(batches())
    x, *rest = made[batch]
    made[batch] = ({**x, name: BAD[bad][0](x[name])}, *rest)
    return made


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["image", "text"])
def test_what_is_bad_in_a_batch_is_refused_by_batch_and_row_before_the_first_step(bad, name):
    model = new_model()
    loader = LOADERS[list(LOADERS)[list(BAD).index(bad) % len(LOADERS)]](spoiled(bad, name))
    message = r"the loader, batch 2 \(rows from 20 on\): " + BAD[bad][1].format(name=name)
    with pytest.raises(ValueError, match=f"^{message}"):
        model.fit(loader, verbose=0)
    with pytest.raises(ValueError, match=f"^validation_data: {message}"):
        model.fit({"image": IMAGE, "text": TEXT}, LABELS, validation_data=loader, verbose=0)
    assert not model.built


def test_bad_labels_and_weights_of_validation_are_named():
    model = new_model()
    for place, message in ((1, "labels must hold only 0 and 1"), (2, "sample_weight must be >= 0")):
        made = list(batches())
        made[1] = tuple(part if k != place else -np.ones_like(part, float) for k, part in enumerate(made[1]))
        with pytest.raises(ValueError, match=f"validation_data: the loader, batch 1 .*: {message}"):
            model.fit({"image": IMAGE, "text": TEXT}, LABELS, validation_data=made, verbose=0)


class TurnsBad:
    """Sound while it is begun and checked; then one batch is not."""

    def __init__(self, bad):
        self.bad, self.passes = bad, 0

    def __iter__(self):
        self.passes += 1
        return iter(spoiled(self.bad, "image") if self.passes > 2 else list(batches()))


@pytest.mark.parametrize("bad", ["sparse", "strings", "beyond int32"])
def test_a_batch_that_turns_into_no_array_is_the_same_error_on_every_backend(model_of, bad):
    with pytest.raises(
        ValueError, match="^the loader, batch 2: " + BAD[bad][1].format(name="image").replace("23", "3")
    ):
        model_of().fit(TurnsBad(bad), verbose=0)


@pytest.mark.parametrize("bad", ["NaN", "NaN in the other byte order", "beyond float32"])
def test_a_sample_that_turns_into_no_number_costs_its_batch_alone(model_of, bad):
    with pytest.warns(UserWarning, match=r"1 sample \(index 23\) held NaN or inf"):
        history = model_of().fit(TurnsBad(bad), verbose=0).history
    assert history["skipped"] == [1]
    assert np.isfinite(history["loss"]).all()


def test_an_error_of_the_loader_itself_stays_what_it_is(model_of):
    class Breaks(TurnsBad):
        def __iter__(self):
            self.passes += 1
            for number, batch in enumerate(batches()):
                if self.passes > 1 and number == 2:
                    raise KeyError("a file that is gone")
                yield batch

    with pytest.raises(KeyError, match="a file that is gone"):
        model_of().fit(Breaks(""), verbose=0)
