"""What examples/, the start page and the tutorials show runs as it stands."""

import re
import runpy
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from scbch_keras.training.cli.main import commands

EXAMPLES = Path(__file__).parents[1] / "examples"
TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
WORDS = {"dog": (180, 120, 60), "beach": (230, 210, 150), "kitchen": (90, 140, 200), "mug": (200, 40, 60)}


def test_the_fifteen_lines_learn_from_noisy_labels_and_doubt_the_wrong_ones():
    names = runpy.run_path(str(EXAMPLES / "generated_data.py"))
    wrong, weight = names["wrong"], names["weight"]
    assert weight[wrong].mean() < 0.7 < 0.9 < weight[~wrong].mean()
    scores = names["model"].evaluate_retrieval(names["query"], names["database"], verbose=0)
    assert min(scores.values()) > 0.8  # a third by chance


@pytest.mark.release
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the tutorials train on PyTorch")
def test_the_tutorials_run_from_a_folder_of_pictures_to_a_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["id,picture,text,labels"]
    for row in range(120):
        name = list(WORDS)[row % len(WORDS)]
        pixels = np.clip(np.array(WORDS[name]) + rng.integers(-30, 30, (24, 24, 3)), 0, 255)
        Image.fromarray(pixels.astype("uint8")).save(folder / f"{row}.png")
        lines.append(f"{row},{row}.png,a {name},{name}")
    (folder / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    printed = {}
    for page in ("photos", "labels"):
        for block in re.findall(
            r"^```bash\n(.*?)^```", (TUTORIALS / f"{page}.md").read_text(encoding="utf-8"), re.S | re.M
        ):
            for line in block.splitlines():
                name, *arguments = shlex.split(line)
                assert name == "scbch"
                done = CliRunner(env={"COLUMNS": "120"}).invoke(commands(), arguments)
                assert done.exit_code == 0, (line, done.output)
                printed[line] = done.stdout
    (search,) = (text for line, text in printed.items() if "scbch search" in line)
    assert len(re.findall(r"│ +\d+ │ \d+ +│ +\d+ │", search)) == 5, search
    maps = re.search(r"mAP@all +│ +([.\d]+) │ +([.\d]+) │", printed["scbch evaluate run"])
    assert min(map(float, maps.groups())) > 0.5  # a quarter by chance
    assert (tmp_path / "scbch-audit" / "audit.html").exists()
