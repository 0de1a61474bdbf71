"""Checks of plain arguments, for whoever must not import keras. Needs nothing but Python."""

from typing import Any


def check_positive_int(name: str, value: Any) -> None:
    """Refuse anything but an int >= 1 (a bool is not an int here)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1; got {value!r}.")


def check_neighbors(neighbors: int, num_samples: int) -> None:
    """Refuse more neighbours than there are other samples."""
    check_positive_int("neighbors", neighbors)
    if num_samples < neighbors + 1:
        raise ValueError(
            f"neighbors={neighbors} needs at least {neighbors + 1} training samples; got {num_samples}."
        )
