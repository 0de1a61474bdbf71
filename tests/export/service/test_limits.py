"""Limits are checked where they come in; the command has the defaults of `Limits`; nothing imports keras."""

import inspect
import io
import pickle
import subprocess
import sys
from dataclasses import asdict, fields

import numpy as np
import pytest
from PIL import Image

from scbch_keras.export import HashEncoder
from scbch_keras.export.service.batching import pieces
from scbch_keras.export.service.limits import Limits
from scbch_keras.training.cli.serve import serve

pytestmark = pytest.mark.numpy_only


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [-1, "7", None, float("nan"), True])
def test_a_limit_that_is_none_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


def test_the_command_has_every_limit_with_its_default():
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(serve).parameters.items()
        if name not in ("release", "codes", "host", "port")
    }
    defaults["max_wait"] = defaults.pop("max_wait_ms") / 1000
    defaults["max_batch"] = defaults.pop("batch_size")
    assert defaults == asdict(Limits())


def test_the_service_imports_neither_keras_nor_tensorflow():
    program = (
        "import sys, scbch_keras.export.service.server, scbch_keras.training.cli.serve\n"
        "print({'keras', 'tensorflow', 'torch', 'jax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("costs", [[1] * 256, [5], [99, 1, 1, 99], [3, 3, 3, 3, 3], [1, 10, 1]])
def test_pieces_hold_every_row_once_in_order_and_no_more_than_the_limit(costs):
    cut = pieces(costs, 8)
    assert [row for piece in cut for row in range(piece.start, piece.stop)] == list(range(len(costs)))
    assert all(sum(costs[piece]) <= 8 or piece.stop - piece.start == 1 for piece in cut)


@pytest.mark.parametrize("copied", [False, True])
def test_an_encoder_refuses_pictures_of_more_than_max_pixels(release, tmp_path, copied):
    encoder = HashEncoder(release, max_pixels=100)
    if copied:
        encoder = pickle.loads(pickle.dumps(encoder))
    file = io.BytesIO()
    Image.new("RGB", (10, 10), "red").save(file, "PNG")
    Image.new("RGB", (101, 1), "red").save(tmp_path / "wide.png")
    codes = encoder.image([file.getvalue()])
    np.testing.assert_array_equal(codes, HashEncoder(release).image([file.getvalue()]))
    with pytest.raises(
        ValueError, match=r"at 1: .*wide.png: expected at most 100 pixels, got 101 \(101 x 1\)"
    ):
        encoder.image([file.getvalue(), tmp_path / "wide.png"])
    assert len(HashEncoder(release).image([tmp_path / "wide.png"])) == 1
    with pytest.raises(ValueError, match="max_pixels must be an int"):
        HashEncoder(release, max_pixels=0)
