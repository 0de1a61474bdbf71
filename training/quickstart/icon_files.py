"""The icons as files, and as a release takes them: a folder of pictures with a table, and the two pipelines."""

import csv
import io
import re
import unicodedata
from pathlib import Path

import numpy as np
import py_phosphor_icons as phosphor
import resvg_py
from numpy.typing import NDArray

from scbch_keras.files import replaced
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.pictures import GREY
from scbch_keras.preprocessing.text import TextPipeline
from scbch_keras.training.data.icons.pictures import IconSet

TABLE = "table.csv"
FILE_SIZE = 128
"""Pixels a side of the files: enough to look at, and a multiple of what the model sees."""

# What parts words for the features, and is within a word for TextPipeline: hyphens and apostrophes, for example.
_WITHIN_WORDS = re.compile(r"(?<=\w)[^\w\s,]+|[^\w\s,]+(?=\w)|_")


def text_of(icons: IconSet, row: int) -> str:
    """Name and tags of an icon so that `text_pipeline` finds the words that the model was trained on."""
    text = unicodedata.normalize("NFKC", icons.descriptions[row])
    return " ".join(_WITHIN_WORDS.sub(" ", text).split()).replace(" ,", ",")


def file_name(icons: IconSet, row: int) -> str:
    """Name of an icon's picture in the folder."""
    return f"{icons.names[row]}.png"


def write_icons(icons: IconSet, labels: NDArray[np.uint8], folder: Path) -> None:
    """Draw the regular weight of all icons into `folder`, with a table as `scbch train` takes it.

    labels: 0/1 (icons, categories), as the model is given them; the true ones stand in `clean_labels`.
    """
    folder.mkdir(exist_ok=True)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("id", "picture", "text", "labels", "clean_labels"))
    for row, name in enumerate(icons.names):
        png = resvg_py.svg_to_bytes(
            svg_string=phosphor.get_svg(name), width=FILE_SIZE, height=FILE_SIZE, background="white",
            skip_system_fonts=True,
        )  # fmt: skip
        with replaced(folder / file_name(icons, row)) as file:
            file.write(png)
        given, true = (
            ";".join(icons.categories[column] for column in np.flatnonzero(one[row]))
            for one in (labels, icons.labels)
        )
        writer.writerow((name, file_name(icons, row), text_of(icons, row), given, true))
    with replaced(folder / TABLE) as file:
        file.write(table.getvalue().encode())


def text_pipeline(icons: IconSet) -> TextPipeline:
    """Strings -> the text features of the icons."""
    return TextPipeline(icons.vocabulary)


def image_pipeline(size: int) -> ImagePipeline:
    """Pictures -> the image features of the icons: how dark each of size x size pixels is, 0 to 1."""
    import keras

    pixels = keras.Input((size, size, 3))
    grey = keras.layers.Dense(1, use_bias=False, name="grey")
    # Grey values come out exactly: all sums are multiples of 2^-16 below 2^8.
    ink = 1.0 - keras.layers.Flatten()(grey(pixels)) / 255.0
    grey.set_weights([(GREY / np.float64(2**16)).astype(np.float32)[:, None]])
    return ImagePipeline((size, size), keras.Model(pixels, ink, name="ink"))
