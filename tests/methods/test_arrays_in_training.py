"""Arrays of every form through fit, encode, the metrics while training and the confidence weights, on each backend."""

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

FORMS = {
    name: lambda values, name=name: values.astype(name)
    for name in (
        "bool",
        "int8",
        "uint8",
        "int16",
        "int32",
        "float16",
        "float64",
        "longdouble",
        "uint16",
        "uint32",
    )
}
FORMS |= {
    name: lambda values, name=name: values.astype(name)
    for name in ("int64", "uint64", ">f2", ">f4", ">f8", ">i4", ">u2")
}
FORMS |= {
    "list": lambda values: values.tolist(),
    "tensor": lambda values: keras.ops.convert_to_tensor(values),
    "bfloat16 tensor": lambda values: keras.ops.convert_to_tensor(values, dtype="bfloat16"),
    "integer tensor": lambda values: keras.ops.convert_to_tensor(values, dtype="int32"),
    "keras.Variable": lambda values: keras.Variable(values.astype("float32")),
    "DataFrame": lambda values: pytest.importorskip("pandas").DataFrame(values),
}


# NumPy makes one of the other forms of these, before a backend sees them.
CONVERTED = (
    *("float16", "longdouble", "uint32", "int64", "uint64", ">f2", ">f4", ">f8", ">i4", ">u2", "list"),
    "DataFrame",
)
TORCH = keras.backend.backend() == "torch"
HERE = [form for form in FORMS if TORCH or form not in CONVERTED]
# Where a training takes seconds, images have one form and texts the next.
PAIRS = list(zip(HERE, HERE, strict=True) if TORCH else zip(HERE[::2], [*HERE[1::2], *HERE[:1]], strict=True))


@pytest.fixture(scope="module")
def again():
    branches = {f"{name}_branch": sk.HashBranch(16, (8,)) for name in ("image", "text")}
    model = sk.SCBCH(16, num_classes=3, neighbors=3, warmup_epochs=1, **branches)
    model.compile(keras.optimizers.Adam(1e-3), **QUICKLY)
    return Again(model, {"image": (None, 6), "text": (None, 5)})


def trained(again, image, text, labels, **settings):
    keras.utils.set_random_seed(0)
    model = again()
    history = model.fit(
        {"image": image, "text": text}, labels, batch_size=20, epochs=2, verbose=0, **settings
    )
    return model, history.history


@pytest.fixture(scope="module")
def plain(again):
    model, history = trained(
        again,
        IMAGE,
        TEXT,
        LABELS,
        validation_data=({"image": IMAGE, "text": TEXT}, LABELS),
        sample_weight=np.ones(40),
    )
    return history, model.encode_image(IMAGE, packed=False, verbose=0)


def test_no_form_is_left_out():
    assert {form for pair in PAIRS for form in pair} == set(HERE)


@pytest.mark.parametrize(("image_form", "text_form"), PAIRS)
@pytest.mark.slow
def test_every_form_trains_and_encodes_to_the_same_bits(again, plain, image_form, text_form):
    image, labels, text = (*map(FORMS[image_form], (IMAGE, LABELS)), FORMS[text_form](TEXT))
    both = ({"image": image, "text": text}, labels)
    model, history = trained(
        again,
        image,
        text,
        labels,
        validation_data=both,
        sample_weight=FORMS[text_form](np.ones(40)) if text_form != "DataFrame" else np.ones(40),
        callbacks=[sk.RetrievalMetrics(both, both)],
    )
    logs, codes = plain
    for name, values in logs.items():
        assert history[name] == values
    for each in (image, IMAGE):
        np.testing.assert_array_equal(model.encode_image(each, packed=False, verbose=0), codes)


@pytest.mark.parametrize("form", FORMS)
def test_confidence_weights_of_every_form_are_the_same(form):
    made = FORMS[form]
    expected = sk.confidence_weights(IMAGE, TEXT, LABELS, neighbors=4)
    weights = sk.confidence_weights(made(IMAGE), made(TEXT), made(LABELS), neighbors=4)
    np.testing.assert_array_equal(weights.weights, expected.weights)


def sparse(values):
    return pytest.importorskip("scipy.sparse").csr_matrix(values)


def at_row_7(value):
    def change(values):
        values = values.astype("float64")
        values[7, 0] = value
        return values

    return change


BAD = {
    "sparse": (sparse, r"{name} must be a dense array; got sparse .*\.toarray\(\)"),
    "masked": (lambda values: np.ma.masked_array(values, mask=values > 0.5), "{name} must not be masked"),
    "complex": (lambda values: values.astype("complex64"), "{name} must hold real numbers"),
    "dates": (lambda values: values.astype("datetime64[D]"), "{name} must hold real numbers"),
    "strings": (lambda values: values.astype(str), "{name} must hold real numbers"),
    "objects": (lambda values: values.astype(object), "{name} must hold real numbers"),
    "dict in a dict": (
        lambda values: {"token_ids": {"low": values}},
        r"{name}\['token_ids'\] must be one array .*of low",
    ),
    "empty dict": (lambda values: {}, "{name} must be one array .* got a dict of nothing"),
    "NaN": (at_row_7(np.nan), "{name} must be finite; row 7"),
    "beyond float32": (at_row_7(1e39), "{name} must be finite as float32; row 7"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["image", "text"])
def test_what_is_no_array_of_numbers_is_refused_before_the_first_step(again, bad, name):
    model = again()
    make, message = BAD[bad]
    message = message.format(name=name)
    arrays = {"image": IMAGE, "text": TEXT}
    changed = {**arrays, name: make(arrays[name])}
    before = model.get_weights()
    encode = model.encode_image if name == "image" else model.encode_text
    calls = {
        "fit": lambda: model.fit(changed, LABELS, verbose=0),
        "validation": lambda: model.fit(arrays, LABELS, validation_data=(changed, LABELS), verbose=0),
        "PairDataset": lambda: sk.PairDataset(**changed, labels=LABELS),
        "RetrievalMetrics": lambda: sk.RetrievalMetrics((changed, LABELS), (arrays, LABELS)),
        "encode": lambda: encode(changed[name], verbose=0),
    }
    for place, call in calls.items():
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert place != "validation" or str(caught.value).startswith("validation_data: ")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("bad", ["sparse", "masked", "NaN", "beyond float32"])
def test_confidence_weights_refuse_what_is_no_code(bad):
    make, message = BAD[bad]
    with pytest.raises(ValueError, match=message.format(name="text_codes")):
        sk.confidence_weights(IMAGE, make(TEXT), LABELS, neighbors=4)


def test_arrays_on_disk_are_converted_batch_by_batch(tmp_path):
    np.save(tmp_path / "image.npy", IMAGE.astype(">f8"))
    stored = np.load(tmp_path / "image.npy", mmap_mode="r")
    data = sk.PairDataset(stored, TEXT, LABELS, batch_size=16, shuffle=False)
    assert data.image is stored
    batch = data[0][0]["image"]
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, IMAGE[:16])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": np.inf}, "the optimizer's learning_rate must be a finite number"),
        ({"margin": np.nan}, "margin must be a finite number; got nan"),
        ({"shift": np.inf}, "shift must be a finite number; got inf"),
        ({"alpha": np.inf}, "alpha must be a finite number of at least 0; got inf"),
        ({"gamma": np.nan}, r"gamma must be a number in \[0, 1\]; got nan"),
        ({"neighbors": True}, "neighbors must be an int of at least 1; got True"),
        ({"l2": "1e-5"}, "l2 must be a finite number of at least 0; got '1e-5'"),
        ({"contrastive": "no"}, "contrastive must be True or False; got 'no'"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, message):
    rate = settings.pop("learning_rate", 1e-3)
    with pytest.raises(ValueError, match=message):
        sk.SCBCH(16, 3, **settings).compile(keras.optimizers.Adam(rate))
