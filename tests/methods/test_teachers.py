"""Methods with networks beside the branches, against the code they were read from: CPAH, CIRH and MIAN."""

import keras
import numpy as np
import pytest
from keras import ops

import scbch_keras as sk
from scbch_keras.methods import cirh, cpah, discriminator, graph_teacher, mian
from scbch_keras.methods.batch_terms import label_errors, shares_label, squared_distance
from scbch_keras.methods.dcmh import pairwise_likelihood
from tests.gradients import gradients_of, number, tensors
from tests.methods import BASELINES, GRADIENT, QUICKLY, VALUE, agree, golden

on_one_backend = pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="training compiles for long; test_baselines trains on all three",
)


def test_the_steps_of_mian_are_the_authors():
    case = golden("mian")
    rows, labels = case["index"], case["labels"]
    sharing = ops.where(ops.matmul(*tensors(labels, labels[rows].T)) > 0, 0.999, 0.0)
    stores = dict(zip("FGHB", tensors(*(case[name] for name in "FGHB")), strict=True))
    (of_batch,) = tensors(labels[rows])
    (text_feature,) = tensors(case["FG"][rows])

    def pairs(store, codes):
        return ops.sum(mian.pair_loss(stores[store], codes, sharing, "reference"))

    def distance(codes):
        return ops.sum(squared_distance(stores["B"][: len(rows)], codes))

    stores["B"] = ops.take(stores["B"], ops.convert_to_tensor(rows.astype("int32")), axis=0)

    def label_step(codes):
        return pairs("F", codes) + pairs("G", codes) + 100 * distance(codes)

    def step(own, share):
        def loss(codes, probabilities):
            wrong = ops.sum(squared_distance(of_batch, probabilities))
            return pairs("H", codes) + pairs(own, codes) + share * distance(codes) + 0.01 * wrong

        return loss

    (label_codes,) = tensors(case["label_codes"])
    assert number(pairs("F", label_codes)) == pytest.approx(float(case["label_pair_F"]), rel=VALUE)
    assert number(label_step(label_codes)) == pytest.approx(float(case["label_loss"]), rel=VALUE)
    agree(gradients_of(label_step, case["label_codes"])[0], case["grad_label"], GRADIENT)

    text = [case[name] for name in ("text_codes", "text_label_probabilities")]
    assert number(step("G", 0.99)(*tensors(*text))) == pytest.approx(float(case["text_loss"]), rel=VALUE)
    for name, gradient in zip(("codes", "labels"), gradients_of(step("G", 0.99), *text), strict=True):
        agree(gradient, case[f"grad_text_step_{name}"], GRADIENT)

    def told(prediction):
        each = mian.information_bound(
            prediction, text_feature, *tensors(case["mu"], case["log_variance"]), 0.01
        )
        return ops.sum(each)

    image = [case[f"image_{name}"] for name in ("codes", "label_probabilities")]
    image.append(case["predicted_text_feature"])

    def image_step(codes, probabilities, prediction):
        return step("F", 0.01)(codes, probabilities) + 50 * told(prediction)

    value = number(told(*tensors(case["predicted_text_feature"])))
    assert value == pytest.approx(float(case["image_mutual_information"]), rel=VALUE)
    assert number(image_step(*tensors(*image))) == pytest.approx(float(case["image_loss"]), rel=VALUE)
    names = ("codes", "labels", "prediction")
    for name, gradient in zip(names, gradients_of(image_step, *image), strict=True):
        agree(gradient, case[f"grad_image_step_{name}"], GRADIENT)


def test_the_likelihood_of_mian_is_that_of_dcmh():
    case = golden("mian")
    codes = tensors(case["label_codes"], case["text_codes"])
    labels = case["labels"][case["index"]]
    (sharing,) = tensors((labels @ labels.T > 0).astype("float32"))
    value = number(ops.mean(mian.pair_loss(*codes, sharing, "likelihood")) / len(labels))
    assert value == pytest.approx(number(pairwise_likelihood(*codes, sharing)), rel=VALUE)


def test_cirh_is_the_authors():
    case = golden("cirh")
    zeroed = float(case["keep_zeroed"]) / len(case["image_features"])
    target = cirh.adjacency(
        case["image_features"], case["text_features"], float(case["a1"]), float(case["a2"]), zeroed
    )
    agree(target, case["target"], VALUE)
    picked = map(ops.convert_to_numpy, graph_teacher.neighbors_of(*tensors(case["target"])))
    for place, rows in zip(("second", "third"), picked, strict=True):
        np.testing.assert_array_equal(rows, case[f"neighbor_{place}_largest_but_self"])

    rows = case["index"]
    (target,) = tensors(target[np.ix_(rows, rows)])
    names = ("image", "text", "joint")
    codes = [case[f"teacher_{name}"] for name in names]
    (binary,) = tensors(np.sign(codes[2]))

    def teacher(image, text, joint):
        alike = cirh.affinity_gaps([(code, code) for code in (image, text, joint)], target)
        return float(case["lambda2"]) * alike + cirh.gap(joint, binary)

    assert number(teacher(*tensors(*codes))) == pytest.approx(float(case["teacher_loss"]), rel=VALUE)
    for name, gradient in zip(names, gradients_of(teacher, *codes), strict=True):
        agree(gradient, case[f"grad_teacher_{name}"], GRADIENT)

    def parts(image, text):
        return (
            cirh.gap(image, binary) + cirh.gap(text, binary) + cirh.gap(image, text),
            cirh.affinity_gaps([(image, text), (image, image), (text, text)], target),
        )

    def students(image, text):
        of_codes, of_affinity = parts(image, text)
        return of_codes + float(case["beta"]) * of_affinity

    values = (*parts(*tensors(*codes[:2])), students(*tensors(*codes[:2])))
    for name, value in zip(("code_loss", "affinity_loss", "loss"), values, strict=True):
        assert number(value) == pytest.approx(float(case[f"student_{name}"]), rel=VALUE), name
    for name, gradient in zip(names, gradients_of(students, *codes[:2]), strict=False):
        agree(gradient, case[f"grad_student_{name}"], GRADIENT)


def test_a_batch_of_few_has_its_own_samples_for_neighbours():
    near, far = graph_teacher.neighbors_of(*tensors(np.array([[1, 0.5], [0.5, 1]])))
    np.testing.assert_array_equal(ops.convert_to_numpy(near), [0, 1])
    np.testing.assert_array_equal(ops.convert_to_numpy(far), [0, 1])


def test_the_terms_of_cpah_are_those_of_its_port_but_for_the_defect():
    case = golden("cpah")
    (labels,) = tensors(case["labels"])
    values = tensors(case["D.0.weight"].T, case["D.0.bias"], case["D.2.weight"].T, case["D.2.bias"])
    (binary,) = tensors(case["B"])
    classifiers = [
        tensors(case[f"classifier.{side}.0.weight"].T, case[f"classifier.{side}.0.bias"])
        for side in ("img", "txt")
    ]

    def parts(image, text, image_codes, text_codes):
        logits = [
            ops.matmul(common, kernel) + bias
            for common, (kernel, bias) in zip((image, text), classifiers, strict=True)
        ]
        return {
            "adversarial": ops.mean(ops.softplus(-discriminator.scores(values, text))),
            "classification": sum(ops.sum(label_errors(each, labels)) for each in logits),
            "pairwise": len(case["B"]) ** 2
            * pairwise_likelihood(image_codes, text_codes, shares_label(labels)),
            "quantization": sum(
                ops.sum(squared_distance(binary, codes)) for codes in (image_codes, text_codes)
            ),
        }

    names = ("common_image", "common_text", "image_codes", "text_codes")
    inputs = [case[name] for name in names]
    for name, value in parts(*tensors(*inputs)).items():
        assert number(value) == pytest.approx(float(case[name]), rel=VALUE), name

    # The port takes the features themselves for the logits of its consistency classifier.
    kinds = {"common_image": 1, "common_text": 1, "private_image": 0, "private_text": 2}

    def with_the_defect(image, text, image_codes, text_codes):
        terms = parts(image, text, image_codes, text_codes)
        features = {"common_image": image, "common_text": text}
        for name in ("private_image", "private_text"):
            (features[name],) = tensors(case[name])
        logits = {name: features[name] for name in kinds}
        consistency = sum(
            ops.sum(ops.logsumexp(logits[name], axis=1) - logits[name][:, kind])
            for name, kind in kinds.items()
        )
        supervised = float(case["alpha"]) * (consistency + terms["classification"])
        return 100 * terms["adversarial"] + supervised + terms["pairwise"] + terms["quantization"]

    assert number(with_the_defect(*tensors(*inputs))) == pytest.approx(float(case["total"]), rel=VALUE)
    for name, gradient in zip(names, gradients_of(with_the_defect, *inputs), strict=True):
        agree(gradient, case[f"grad_{name}"], GRADIENT)


def test_the_discriminator_learns_by_the_gradient_of_its_loss():
    rng = np.random.default_rng(0)
    shapes = ((5, 7), (7,), (7, 1), (1,))
    values = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    sides = tensors(*rng.standard_normal((3, 9, 5)), rng.uniform(0, 2, 9))
    by_formula = discriminator.loss_gradients(tensors(*values), *sides)
    automatic = gradients_of(lambda *moved: discriminator.loss(moved, *sides), *values)
    for formula, gradient in zip(by_formula, automatic, strict=True):
        agree(formula, gradient, GRADIENT)


@on_one_backend
def test_the_discriminator_tells_two_modalities_apart():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    layer = discriminator.Discriminator(1e-2)
    layer.build((None, 4))
    real, fake = tensors(rng.standard_normal((40, 4)) + 1, rng.standard_normal((40, 4)) - 1)
    for _ in range(60):
        layer.learn(real, fake, (real + fake) / 2, ops.ones(40))
    assert number(ops.mean(ops.cast(layer(real) > layer(fake), "float32"))) > 0.9
    assert not layer.trainable_variables


def compiled(name, **settings):
    """A small compiled model for `pairs`; on TensorFlow without XLA."""
    branches = {f"{side}_branch": sk.HashBranch(20, (32,)) for side in ("image", "text")}
    model = BASELINES[name](20, 8, **branches, **settings)
    model.compile(keras.optimizers.Adam(3e-3), **QUICKLY)
    return model


STATE = {
    "cpah": ("codes",),
    "cirh": ("teacher_codes",),
    "mian": ("image_store", "text_store", "label_store"),
}
SMALL = {"cirh": {"teacher_units": 16}}


@on_one_backend
@pytest.mark.parametrize("name", STATE)
def test_training_goes_on_from_a_saved_model_as_if_never_stopped(name, pairs, tmp_path):
    x, labels = pairs
    data = sk.PairDataset(**x, labels=labels, batch_size=80, seed=1)
    keras.utils.set_random_seed(2)
    model = compiled(name, **SMALL.get(name, {}))
    model.fit(data, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(data, initial_epoch=2, epochs=3, verbose=0)
    for state in STATE[name]:
        np.testing.assert_array_equal(
            *(ops.convert_to_numpy(getattr(each, state)) for each in (model, loaded)), state
        )
    np.testing.assert_array_equal(
        *(each.encode_image(x["image"], packed=False, verbose=0) for each in (model, loaded))
    )


@on_one_backend
def test_the_students_of_cirh_hit_the_codes_of_the_epoch_before(pairs):
    x, labels = pairs
    model = compiled("cirh", **SMALL["cirh"])
    data = sk.PairDataset(**x, labels=labels, batch_size=240, shuffle=False)
    model.fit(data, epochs=1, verbose=0)
    assert set(np.unique(ops.convert_to_numpy(model.teacher_codes))) == {-1, 1}
    model.teacher_codes.assign(np.ones((240, 20), "float32"))
    batch, y = data[0]
    outputs = model(batch)
    terms = model.objective(batch, *tensors(y), outputs, None, True)
    image, text = (20**0.5 * outputs[name] for name in ("image", "text"))
    ones = ops.ones_like(image)
    expected = cirh.gap(image, ones) + cirh.gap(text, ones) + cirh.gap(image, text)
    assert number(terms["codes"][1]) == pytest.approx(number(expected), rel=1e-4)


@on_one_backend
def test_the_codes_of_cpah_are_of_the_common_part_alone(pairs):
    x, labels = pairs
    model = compiled("cpah")
    model.fit(x, labels, batch_size=80, epochs=1, verbose=0)
    common, private = model.image_branch.parts(ops.convert_to_tensor(x["image"]))
    code = ops.tanh(model.image_branch.hash_layer(common))
    code = ops.convert_to_numpy(code / ops.sqrt(ops.sum(code * code, axis=1, keepdims=True)))
    np.testing.assert_allclose(code, model.encode_image(x["image"], packed=False, verbose=0), atol=1e-5)
    whole = sk.HashBranch.features(model.image_branch, ops.convert_to_tensor(x["image"]))
    np.testing.assert_allclose(*map(ops.convert_to_numpy, (common + private, whole)), rtol=1e-5, atol=1e-6)


def test_cpah_refuses_branches_that_it_cannot_mask_or_compare():
    built = sk.HashBranch(20, (8,))
    built.build((None, 5))
    with pytest.raises(ValueError, match="has weights already"):
        cpah.CPAH(20, 8, image_branch=built)
    branches = {"image_branch": sk.HashBranch(20, (8,)), "text_branch": sk.HashBranch(20, (9,))}
    with pytest.raises(ValueError, match="expected the same width, got 8 and 9"):
        cpah.CPAH(20, 8, **branches).build({"image": (None, 5), "text": (None, 6)})


@on_one_backend
def test_the_label_network_of_mian_learns_faster_than_the_branches(pairs):
    x, labels = pairs
    moved = []
    for rate in (1.0, 50.0):
        keras.utils.set_random_seed(4)
        model = compiled("mian", label_rate=rate)
        before = rate * ops.convert_to_numpy(model.label_network.kernel)
        model.fit(x, labels, batch_size=80, epochs=1, verbose=0)
        moved.append(np.abs(rate * ops.convert_to_numpy(model.label_network.kernel) - before).mean())
    assert 20 < moved[1] / moved[0] < 80


@pytest.mark.parametrize("name", STATE)
def test_a_batch_that_does_not_say_its_rows_is_refused(name, pairs):
    x, labels = pairs
    model = compiled(name, **SMALL.get(name, {}))
    model.build({side: values.shape for side, values in x.items()})
    with pytest.raises(ValueError, match="index"):
        model.fit([(x, labels)], verbose=0)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cpah", {"adversarial": -1}),
        ("cpah", {"alpha": -1}),
        ("cpah", {"beta": -1}),
        ("cpah", {"discriminator_rate": 0}),
        ("cirh", {"image_share": 1.1}),
        ("cirh", {"first_order": -0.1}),
        ("cirh", {"zeroed": 1.1}),
        ("cirh", {"reconstruction": -1}),
        ("cirh", {"beta": -1}),
        ("cirh", {"teacher_units": 0}),
        ("mian", {"pair_term": "squared"}),
        ("mian", {"information": -1}),
        ("mian", {"prior": -1}),
        ("mian", {"label_rate": 0}),
    ],
)
def test_bad_arguments_are_named(name, settings):
    (argument,) = settings
    with pytest.raises(ValueError, match=rf"^{argument} must be"):
        BASELINES[name](20, 8, **settings)
