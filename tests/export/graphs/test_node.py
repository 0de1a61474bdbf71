"""A release's ONNX files in onnxruntime-node: the codes of HashEncoder."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

for needed in ("onnxruntime", "pandas"):
    pytest.importorskip(needed)

from scbch_keras.export import HashEncoder, TextPipeline  # noqa: E402
from tests.servers import onnxruntime_node, program  # noqa: E402
from tests.test_before_rooms import RELEASE  # noqa: E402

pytestmark = pytest.mark.numpy_only

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "readers.cjs"
WIDTHS = {"image": 64, "text": 7}
STRINGS = ["the sea", "Sea NIGHT", "SEA, sea: night!", "unknown words alone", ""]


def test_features_and_strings_get_the_codes_of_python_in_onnxruntime_node(tmp_path):
    environment = {**os.environ, "NODE_PATH": str(onnxruntime_node())}
    encoder = HashEncoder(RELEASE)
    rng = np.random.default_rng(0)
    features = {name: rng.standard_normal((200, width)).astype(np.float32) for name, width in WIDTHS.items()}
    for name, values in features.items():
        values.tofile(tmp_path / f"{name}.f32")
    (tmp_path / "sizes.json").write_text(json.dumps({name: len(values) for name, values in features.items()}))
    normalized = TextPipeline.load(RELEASE / "text_pipeline.json").normalize(STRINGS)
    (tmp_path / "strings.json").write_text(json.dumps(list(normalized)))

    done = subprocess.run(
        [program("node"), str(SCRIPT), str(RELEASE), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    expected = {name: getattr(encoder, name)(values) for name, values in features.items()}
    expected["strings"] = encoder.text(STRINGS)
    for name, codes in expected.items():
        np.testing.assert_array_equal(
            np.fromfile(tmp_path / f"{name}.packed", np.uint8).reshape(codes.shape), codes
        )
