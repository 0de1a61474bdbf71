"""Concepts of MIRFlickr that its own tags name: labels as people give them, beside the true ones."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Concept(NamedTuple):
    """A column of the labels, and the columns of the tags whose words name it."""

    label: int
    words: tuple[int, ...]


# The words were identified by the number of their rows and their correlation with the true label.
CONCEPTS = {
    "animals": Concept(0, (114,)),
    "baby": Concept(1, (110,)),
    "bird": Concept(2, (73, 164)),
    "car": Concept(3, (77,)),
    "clouds": Concept(4, (14,)),
    "dog": Concept(5, (29,)),
    "female": Concept(6, (57,)),
    "flower": Concept(7, (17, 32)),
    "food": Concept(8, (71,)),
    "lake": Concept(10, (79,)),
    "male": Concept(11, (103,)),
    "night": Concept(12, (10,)),
    "people": Concept(13, (37,)),
    "portrait": Concept(15, (9,)),
    "river": Concept(16, (98,)),
    "sea": Concept(17, (46,)),
    "sky": Concept(18, (1,)),
    "structures": Concept(19, (31, 89)),
    "sunset": Concept(20, (12,)),
    "tree": Concept(22, (36, 66)),
    "water": Concept(23, (7,)),
}


class Tagged(NamedTuple):
    """What tags and labels say of the concepts."""

    given: NDArray[np.uint8]
    """(n, 21): whether a tag names the concept."""
    true: NDArray[np.uint8]
    """(n, 21)."""
    text: NDArray[np.float32]
    """(n, words): the other tags."""


def tagged(tags: NDArray[Any], labels: NDArray[Any]) -> Tagged:
    """Tags (n, 1386) and labels (n, 24) of MIRFlickr rows -> tags as labels."""
    named = [list(concept.words) for concept in CONCEPTS.values()]
    given = np.stack([tags[:, columns].any(axis=1) for columns in named], axis=1).astype(np.uint8)
    true = labels[:, [concept.label for concept in CONCEPTS.values()]].astype(np.uint8)
    text = np.delete(tags, [column for columns in named for column in columns], axis=1)
    return Tagged(given, true, text.astype(np.float32))
