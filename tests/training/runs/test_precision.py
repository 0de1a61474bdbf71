"""Products in bfloat16: weights, codes, losses and what leaves the run are float32."""

import keras
import numpy as np
import pytest

from scbch_keras.training.runs.recipe import resolve
from scbch_keras.training.runs.train import load_model
from tests.training.runs.small import begin, once, trained


@once
@pytest.mark.slow
def test_bf16_trains_float32_weights_to_about_the_same_retrieval(file, whole, tmp_path):
    runs = {"float32": whole, "bf16": begin(file, tmp_path / "bf16", precision="bf16")}
    half = trained(runs["bf16"])
    assert (
        half.image_branch.hash_layer.compute_dtype == half.text_branch.hidden[0].compute_dtype == "bfloat16"
    )
    assert {weight.dtype for weight in half.trainable_weights} == {"float32"}
    assert {slot.dtype for slot in half.optimizer.variables if "float" in slot.dtype} == {"float32"}
    assert half.confidence.dtype == "float32"
    scores = {
        name: [run.state["metrics"][way]["map"] for way in ("i2t", "t2i")] for name, run in runs.items()
    }
    assert scores["bf16"] != scores["float32"]
    np.testing.assert_allclose(scores["bf16"], scores["float32"], atol=0.05)
    assert all(np.isfinite(epoch["loss"]) and not epoch["skipped"] for epoch in runs["bf16"].state["history"])
    again = load_model(runs["bf16"])
    assert again.image_branch.hash_layer.compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_a_precision_is_one_of_two():
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'bf16'"):
        resolve(data="icons", precision="fp16")
    assert "precision" not in resolve(data="icons").as_dict()
