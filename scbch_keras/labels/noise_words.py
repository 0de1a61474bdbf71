"""How labels went wrong, in words: a table of dropped and added labels, or rates, as a sentence. numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SHOWN = 4
"""So many kinds of damage are named, the most frequent; the others are counted together."""


def table_in_words(table: NDArray[np.float64]) -> str:
    """A table of samples by labels dropped and added as a sentence, such as "Of 100 samples 24 are untouched, ...".

    Args:
        table: (dropped + 1, added + 1), sums to 1.
    """
    # Shares that are rounded down give what is left to the largest remainders: the words add up to 100.
    shares = 100 * table.ravel() / table.sum()
    parts = np.floor(shares).astype(int)
    parts[np.argsort(parts - shares, kind="stable")[: 100 - parts.sum()]] += 1
    untouched = int(parts[0])
    if untouched == 100:
        return f"{'All' if table[0, 0] == table.sum() else 'Nearly all'} samples are untouched."
    order = [int(cell) for cell in np.argsort(-shares, kind="stable") if cell and parts[cell]]
    clauses = [f"{untouched or 'none'} {'is' if untouched == 1 else 'are'} untouched"]
    clauses += [f"{parts[cell]} {_damage(*divmod(cell, table.shape[1]))}" for cell in order[:_SHOWN]]
    if others := int(sum(parts[cell] for cell in order[_SHOWN:])):
        clauses.append(f"{others} went wrong in another way")
    return f"Of 100 samples {', '.join(clauses)}."


def rates_in_words(noise_rate: float, add_rate: float, drop_rate: float) -> str:
    """Rates from 0 to 1 as a sentence."""
    return (
        f"Of 100 samples {round(100 * noise_rate)} have wrong labels: of 1,000 labels that are there "
        f"{round(1000 * drop_rate)} were dropped, and of 1,000 that are not {round(1000 * add_rate)} were added."
    )


def exchanges_in_words(shares: NDArray[np.float64], label_names: Sequence[str]) -> str:
    """Which label gives way to which, the most one-sided first, as a sentence.

    Args:
        shares: (C, C), rows sum to 1: of the labels c that gave way to another, the share in which that was c'.
        label_names: C texts.
    """
    gained = shares.argmax(axis=1)
    largest = shares.max(axis=1)
    order = np.argsort(-largest, kind="stable")[:_SHOWN].tolist()
    # Evenly, each of the others would have 1 / (C - 1).
    shown = [lost for lost in order if largest[lost] > 2 / max(len(shares) - 1, 1)]
    if not shown:
        return "No label gives way to one above all others."
    pairs = [
        f"{label_names[lost]!r} to {label_names[gained[lost]]!r} ({largest[lost]:.0%})" for lost in shown
    ]
    return f"A label that gave way to another did so most one-sidedly: {', '.join(pairs)}."


def _damage(dropped: int, added: int) -> str:
    if dropped == added:
        return f"had {_labels(dropped)} exchanged"
    words = [f"lost {_labels(dropped)}"] * bool(dropped) + [f"gained {_labels(added)}"] * bool(added)
    return " and ".join(words)


def _labels(number: int) -> str:
    return f"{_NUMBERS[number] if number < len(_NUMBERS) else number} label{'s' * (number != 1)}"
