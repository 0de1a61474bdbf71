"""Checks of the methods' settings."""


def check_positive(**values: float) -> None:
    """Raise ValueError, naming the argument, unless all are greater than 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be greater than 0; got {value!r}.")


def check_share(**values: float) -> None:
    """Raise ValueError, naming the argument, unless all are in [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1]; got {value!r}.")
