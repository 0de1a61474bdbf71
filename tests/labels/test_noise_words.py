import re

import numpy as np
import pytest

from scbch_keras.labels.noise_words import rates_in_words, table_in_words

pytestmark = pytest.mark.numpy_only


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({(0, 0): 1}, "All samples are untouched."),
        ({(0, 0): 0.998, (1, 0): 0.002}, "Nearly all samples are untouched."),
        ({(0, 0): 0.24, (1, 1): 0.76}, "Of 100 samples 24 are untouched, 76 had one label exchanged."),
        ({(0, 0): 0.01, (1, 0): 0.99}, "Of 100 samples 1 is untouched, 99 lost one label."),
        ({(2, 2): 1}, "Of 100 samples none are untouched, 100 had two labels exchanged."),
        (
            {(0, 0): 0.5, (0, 2): 0.2, (2, 1): 0.3},
            "Of 100 samples 50 are untouched, 30 lost two labels and gained one label, 20 gained two labels.",
        ),
    ],
)
def test_a_table_is_a_sentence(cells, sentence):
    table = np.zeros((3, 3))
    for cell, share in cells.items():
        table[cell] = share
    assert table_in_words(table) == sentence


@pytest.mark.parametrize("shape", [(3, 3), (9, 3), (17, 17)])
def test_the_parts_of_a_sentence_add_up_to_100(shape):
    rng = np.random.default_rng(0)
    for _ in range(20):
        sentence = table_in_words(rng.dirichlet(np.full(np.prod(shape), 0.5)).reshape(shape))
        parts = re.findall(r"(?:samples|,) (\d+|none) ", sentence)
        assert sum(0 if part == "none" else int(part) for part in parts) == 100
        assert len(parts) <= 6


def test_rates_are_a_sentence():
    assert rates_in_words(0.42, 0.021, 0.124) == (
        "Of 100 samples 42 have wrong labels: of 1,000 labels that are there 124 were dropped, and of 1,000 that are "
        "not 21 were added."
    )
