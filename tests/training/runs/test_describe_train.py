"""What `describe` calls trainable is trained, and what it does not is refused: the same code asks."""

import io
import json

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from scbch_keras.training.environment import versions
from scbch_keras.training.grid.reproduce import Grid, reproduce
from scbch_keras.training.runs.describe import describe, show
from scbch_keras.training.runs.folder import RunFolder
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import resolve
from scbch_keras.training.runs.train import train

BACKEND = keras.backend.backend()
pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="the same on every backend; runs on torch")
SMALL = {
    "backend": BACKEND,
    "bits": 8,
    "image_units": (8,),
    "text_units": (8,),
    "epochs": 1,
    "warmup_epochs": 0,
}


def pictures(folder, rows=30, text="a word", labels="ab", spoil=None, **columns):
    """A folder of pictures with its table."""
    table = []
    for number in range(rows):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), "uint8")
        Image.fromarray(pixels).save(folder / f"{number}.png")
        table.append(
            {
                "id": number,
                "picture": f"{number}.png",
                "text": text if isinstance(text, str) else text[number],
                "labels": labels[number % len(labels)],
            }
        )
        table[-1] |= {name: values[number] for name, values in columns.items()}
    if spoil is not None:
        Image.fromarray((np.arange(64).reshape(8, 8) * 100).astype(spoil)).save(folder / "3.tif")
        table[3]["picture"] = "3.tif"
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, table)))
    return folder


def arrays(folder, **changed):
    rng = np.random.default_rng(0)
    made = {
        "image": rng.random((30, 6)),
        "text": rng.random((30, 5)),
        "labels": (rng.random((30, 3)) < 0.5).astype("uint8"),
        **changed,
    }
    np.savez(folder / "x.npz", **made)
    return folder / "x.npz"


def parts(train, query, database):
    return ["train"] * train + ["query"] * query + ["database"] * database


UNLIKE = np.repeat(np.eye(3, dtype="uint8"), [24, 3, 3], axis=0)
BEYOND = np.ones((30, 6))
BEYOND[7, 0] = 1e39
REFUSED = {
    "no text in any row": (pictures, {"text": ""}, {}, "texts have no word"),
    "texts without words": (pictures, {"text": " \t\n"}, {}, "texts have no word"),
    "texts in queries alone": (
        pictures,
        {"split": parts(24, 3, 3), "text": [""] * 24 + ["a word"] * 6},
        {},
        "texts have no word",
    ),
    "fewer rows than neighbours": (pictures, {"rows": 12}, {"queries": 4}, "neighbors=20 needs at least 21"),
    "rows that queries take": (pictures, {}, {"queries": 12}, "neighbors=20 needs at least 21"),
    "too few rows for a share of queries": (pictures, {"rows": 4}, {}, "queries: expected 1 to 3"),
    "pictures of 16 bits": (pictures, {"spoil": "uint16"}, {}, "expected 8 bits a channel"),
    "pictures of floats": (pictures, {"spoil": "float32"}, {}, "expected 8 bits a channel"),
    "pictures where a network takes rows": (
        arrays,
        {"image": np.ones((30, 4, 4, 3)) * np.arange(1, 31)[:, None, None, None]},
        {},
        "take rows of features",
    ),
    "a number beyond float32": (arrays, {"image": BEYOND}, {}, "row 7 holds NaN or inf"),
    "queries without anything relevant": (
        arrays,
        {"labels": UNLIKE, "split": np.array(parts(24, 3, 3))},
        {},
        "nothing is relevant to any query",
    ),
    "a training set without labels": (
        arrays,
        {"labels": 1 - UNLIKE[:, :1], "split": np.array(parts(24, 3, 3))},
        {},
        "expected labels in the training set",
    ),
}


def looked(data, recipe):
    found = describe(data, console=Console(file=io.StringIO()), recipe=recipe)
    stream = io.StringIO()
    show(found, Console(file=stream, width=400))
    return found, stream.getvalue()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_training_refuses_is_described(tmp_path, kind):
    make, content, settings, message = REFUSED[kind]
    (tmp_path / "data").mkdir()
    data = make(tmp_path / "data", **content)
    recipe = resolve(data=str(data), image_features="pixels:4", **{**SMALL, **settings})
    with pytest.raises(ValueError, match=message):
        open_data(recipe, tmp_path)
    found, told = looked(data, recipe)
    assert not found.trainable
    assert message in told
    assert "Nothing stands in the way" not in told


TAKEN = {
    "pictures": (pictures, {}, {}),
    "a single label": (pictures, {"labels": "a"}, {}),
    "one text with a word": (pictures, {"text": "x"}, {"text_features": "tfidf"}),
    "fewer neighbours": (pictures, {"rows": 12}, {"queries": 4, "neighbors": 7}),
    "captions of pictures": (pictures, {"group": [number // 2 for number in range(30)]}, {"noise": 0.5}),
    "features": (arrays, {}, {}),
    "a label of every row": (arrays, {"labels": np.ones((30, 1), "uint8")}, {}),
}


# Methods of others have no condition of their own on the data: kinds that are at the limit of what is taken.
LIMITS = ("one text with a word", "fewer neighbours", "a label of every row")
TRAINED = [(kind, variant) for kind in TAKEN for variant in ("full", "posterior")]
TRAINED += [(kind, variant) for kind in LIMITS for variant in ("dcmh", "nrch", "rshnl")]


@pytest.mark.parametrize(("kind", "variant"), TRAINED)
@pytest.mark.slow
def test_what_is_described_as_trainable_is_trained(tmp_path, kind, variant):
    make, content, settings = TAKEN[kind]
    (tmp_path / "data").mkdir()
    data = make(tmp_path / "data", **content)
    settings = {"image_features": "pixels:4", **SMALL, "variant": variant, **settings}
    recipe = resolve(data=str(data), **settings)
    found, told = looked(data, recipe)
    assert found.trainable, told
    assert f"Nothing stands in the way of training (variant={variant}" in told
    run = RunFolder.create(tmp_path / "run", recipe, versions(BACKEND))
    train(run, open_data(recipe, run.path), verbose=0)
    assert run.finished


def test_noise_falls_on_items_as_a_whole(tmp_path):
    rng = np.random.default_rng(0)
    group = np.arange(60) // 3
    labels = (rng.random((20, 4)) < 0.5).astype("uint8")[group]
    features = rng.random((60, 5))
    np.savez(tmp_path / "x.npz", image=features, text=features, labels=labels, group=group)
    data = open_data(resolve(data=str(tmp_path / "x.npz"), noise=0.5, **SMALL), tmp_path).train
    changed = (data.labels != data.clean_labels).any(axis=1)
    assert 0 < changed.mean() < 1
    for item in np.unique(data.groups):
        assert len(np.unique(data.labels[data.groups == item], axis=0)) == 1


@pytest.mark.slow
def test_a_grid_computes_the_features_of_pictures_once(tmp_path):
    (tmp_path / "data").mkdir()
    data = pictures(tmp_path / "data")
    settings = {name: value for name, value in SMALL.items() if name != "bits"}
    grid = Grid([str(data)], [0.0, 0.5], [8], [0], ["full"])
    recipes = list(grid.recipes(image_features="pixels:4", **settings))
    reproduce(recipes, tmp_path / "grid")
    [features] = (tmp_path / "grid" / "features").iterdir()
    assert not list((tmp_path / "grid" / "runs").rglob("features-*.h5"))
    written = features.stat().st_mtime_ns
    reproduce(
        list(Grid([str(data)], [0.2], [8], [0], ["full"]).recipes(image_features="pixels:4", **settings)),
        tmp_path / "grid",
    )
    assert features.stat().st_mtime_ns == written
