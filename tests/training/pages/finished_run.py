"""Finished runs without a training: codes that follow the labels, so that pages have something to show."""

import csv

import numpy as np
from PIL import Image

from scbch_keras.training.runs.evaluate import retrieval_metrics
from scbch_keras.training.runs.folder import RunFolder
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import resolve

BITS = 16
HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = ("animal", HOSTILE, "sea")


def write_pictures(folder, rows=60):
    """Pictures with texts and labels; one of each three labels is given to a third of the rows, some have two."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("id", "picture", "text", "labels"))
        for row in range(rows):
            kind = row % 3
            pixels = (rng.integers(0, 60, (12, 16, 3)) + 60 * kind).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{row}.png")
            labels = {NAMES[kind], NAMES[1] if row % 5 == 0 else NAMES[kind]}
            table.writerow((f"p{row}", f"{row}.png", f"word{kind} {HOSTILE} {row}", ";".join(sorted(labels))))
    return folder


def write_arrays(path, rows=60):
    """Features without pictures and texts."""
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype="uint8")[np.arange(rows) % 3]
    np.savez(path, image=rng.random((rows, 6)), text=rng.random((rows, 5)), labels=labels)
    return path


def finished_run(path, data, epochs=6, rising=0.0, **settings):
    """A finished run on data, whose mAP of the epochs grows by `rising` an epoch until that of its codes."""
    pictures = {"image_features": "pixels:4"} if data.is_dir() else {}
    recipe = resolve(data=str(data), bits=BITS, epochs=epochs, neighbors=3, **pictures, **settings)
    run = RunFolder.create(path, recipe, {"python": "3"})
    pairs = open_data(recipe, path)
    run.begin(pairs)
    rng = np.random.default_rng(1)
    patterns = rng.integers(0, 2, (len(pairs.label_names), BITS))
    packed = {}
    for part in ("query", "database"):
        labels = getattr(pairs, part).labels
        run.save_array(f"{part}_labels", labels)
        packed[part] = {}
        for side in ("image", "text"):
            flips = rng.random((len(labels), BITS)) < 0.15
            packed[part][side] = np.packbits(
                (patterns[labels.argmax(axis=1)] ^ flips).astype(np.uint8), axis=1
            )
            run.save_array(f"{part}_{side}_codes", packed[part][side])
    train = pairs.train
    run.save_array("train_ids", train.ids)
    run.save_array("train_labels", train.labels)
    run.save_array("confidence", np.linspace(0.5, 1, len(train)).astype("float32"))
    run.save_array("soft_labels", (train.labels * 0.8).astype("float32"))
    run.state["metrics"] = retrieval_metrics(
        packed["query"], packed["database"], pairs.query.labels, pairs.database.labels, BITS
    )
    last = run.state["metrics"]
    run.state["history"] = [
        {
            "epoch": epoch + 1,
            "loss": 3.0 - epoch / epochs,
            "skipped": 0.0,
            **{f"{way}_map": last[way]["map"] - rising * (epochs - 1 - epoch) for way in ("i2t", "t2i")},
        }
        for epoch in range(epochs)
    ]
    run.state |= {"seconds": 75.0, "cpu_seconds": 150.0, "peak_memory": 3 * 2**29, "status": "finished"}
    run.save_state()
    return run
