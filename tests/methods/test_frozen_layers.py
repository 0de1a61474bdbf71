"""Layers that are not to be trained, and optimizers of other weights."""

import keras
import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras.methods.cpah import CPAH
from tests.methods import QUICKLY


def make(method=sk.SCBCH, optimizer=None, **branches):
    settings = {"neighbors": 3} if method is sk.SCBCH else {}
    for name in ("image_branch", "text_branch"):
        branches.setdefault(name, sk.HashBranch(20, (8,)))
    model = method(20, 8, **branches, **settings)
    model.compile(optimizer or keras.optimizers.SGD(1e-2), **QUICKLY)
    return model


def frozen_before_it_has_weights(model):
    model.image_branch.trainable = False


def frozen_when_it_has_weights(model):
    model.build({"image": (None, 20), "text": (None, 30)})
    model.image_branch.trainable = False


@pytest.mark.parametrize("freeze", [frozen_before_it_has_weights, frozen_when_it_has_weights])
def test_a_frozen_branch_keeps_its_weights_and_the_other_does_not(pairs, freeze):
    keras.utils.set_random_seed(0)
    model = make()
    freeze(model)
    model.build({"image": (None, 20), "text": (None, 30)})
    before = {name: getattr(model, name).get_weights() for name in ("image_branch", "text_branch")}
    model.fit(*pairs, epochs=1, verbose=0)
    for name, same in (("image_branch", True), ("text_branch", False)):
        after = getattr(model, name).get_weights()
        assert [np.array_equal(*pair) for pair in zip(before[name], after, strict=True)] == [same] * 4


@pytest.mark.parametrize("method", [sk.SCBCH, CPAH])
def test_a_branch_made_frozen_is_frozen_saved_and_loaded_too_and_can_be_unfrozen(tmp_path, method):
    model = make(method, image_branch=sk.HashBranch(20, (8,), trainable=False))
    model.build({"image": (None, 20), "text": (None, 30)})
    model.save(tmp_path / "model.keras")
    for each in (model, keras.models.load_model(tmp_path / "model.keras")):
        of_image = [variable.path for variable in each.image_branch.variables]
        assert of_image
        assert not {variable.path for variable in each.trainable_variables} & set(of_image)
        each.image_branch.trainable = True
        assert {variable.path for variable in each.trainable_variables} >= set(of_image)


def trained(model, pairs):
    model.fit(*pairs, epochs=1, verbose=0)
    return model


def thawed(pairs):
    model = make(image_branch=sk.HashBranch(20, (8,), trainable=False))
    trained(model, pairs).image_branch.trainable = True
    return model


def frozen_later(pairs):
    model = trained(make(), pairs)
    model.image_branch.trainable = False
    return model


def all_frozen(pairs):
    model = make()
    model.trainable = False
    return model


WRONG = {
    "an optimizer of another model": (
        lambda pairs: make(optimizer=trained(make(), pairs).optimizer),
        "built for other weights: it does not know .*compile again",
    ),
    "Adam of another model": (
        lambda pairs: make(optimizer=trained(make(optimizer=keras.optimizers.Adam(1e-3)), pairs).optimizer),
        "built for other weights: it does not know .*an optimizer of its own",
    ),
    "thawed since": (thawed, "built for other weights: it does not know .*/image_branch/.*compile again"),
    "frozen since": (frozen_later, "built for other weights: fewer are trained now.*compile again"),
    "all frozen": (all_frozen, "no weights to train: .*trainable=False"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_optimizer_that_does_not_fit_is_refused_before_the_first_step(pairs, name):
    prepare, message = WRONG[name]
    model = prepare(pairs)
    with pytest.raises(ValueError, match=message):
        model.fit(*pairs, epochs=1, verbose=0)
