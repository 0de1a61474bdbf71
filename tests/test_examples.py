"""What examples/ and the start page show runs as it stands, on every backend."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_fifteen_lines_learn_from_noisy_labels_and_doubt_the_wrong_ones():
    names = runpy.run_path(str(EXAMPLES / "generated_data.py"))
    wrong, weight = names["wrong"], names["weight"]
    assert weight[wrong].mean() < 0.7 < 0.9 < weight[~wrong].mean()
    scores = names["model"].evaluate_retrieval(names["query"], names["database"], verbose=0)
    assert min(scores.values()) > 0.8  # a third by chance
