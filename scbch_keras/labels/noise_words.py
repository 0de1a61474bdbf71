"""How labels went wrong, in words: a table of dropped and added labels, or rates, as a sentence. numpy only."""

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


def _damage(dropped: int, added: int) -> str:
    if dropped == added:
        return f"had {_labels(dropped)} exchanged"
    words = [f"lost {_labels(dropped)}"] * bool(dropped) + [f"gained {_labels(added)}"] * bool(added)
    return " and ".join(words)


def _labels(number: int) -> str:
    return f"{_NUMBERS[number] if number < len(_NUMBERS) else number} label{'s' * (number != 1)}"
