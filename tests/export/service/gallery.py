"""A folder of pictures with a table, and `scbch demo` in a process of its own."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import threading

import numpy as np
from PIL import Image

COUNT = 40
HOSTILE = "<img src=x onerror=alert(1)> \u202eevil"
CAPTIONS = [f"a dog on the beach, {row}" if row % 2 else "the dog" for row in range(COUNT - 1)] + [HOSTILE]
LABELS = [
    [name for name, every in (("animal", 2), ("red & <b>", 3), ("sea", 5)) if row % every == 0]
    for row in range(COUNT)
]


@contextlib.contextmanager
def running_demo(*arguments):
    """`scbch demo` in its own process, once it answers: its address, and what it prints."""
    command = [sys.executable, "-m", "scbch_keras.training.cli.main", "demo", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "BROWSER": "true"}
    )
    watch = threading.Timer(120, process.kill)
    watch.start()
    try:
        line = process.stdout.readline()
        assert line.startswith("Search page: http://127.0.0.1:"), line
        yield line.split()[2].rstrip("/")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        watch.cancel()
        process.stdout.close()


def write_gallery(folder):
    """Pictures, two of them large, with a table; and a picture beside the folder."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    secret = folder.parent / "secret.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("id", "picture", "text", "labels"))
        for row in range(COUNT):
            side = 600 if row < 2 else 40
            pixels = rng.integers(0, 256, (2, 3, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((side, side * 3 // 4)).save(folder / f"{row}.png")
            table.writerow((f"p{row}", f"{row}.png", CAPTIONS[row], ";".join(LABELS[row])))


def damage(gallery):
    """What happens to a folder while it is served: a link out of it, a file that is none, and one that is gone."""
    for name in ("37.png", "38.png", "39.png"):
        (gallery / name).unlink()
    (gallery / "37.png").symlink_to(gallery.parent / "secret.png")
    (gallery / "38.png").write_text("no picture")
