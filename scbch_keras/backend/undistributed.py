"""Keras' distribution, on the backends that would ignore it."""

import keras


def refuse_distribution(name: str) -> None:
    """Raise RuntimeError if a `keras.distribution` is set, which the backend `name` leaves unread."""
    distribution = keras.distribution.distribution()
    if distribution is not None:
        raise RuntimeError(
            f"keras.distribution is set ({type(distribution).__name__}), and Keras ignores it on {name}: training "
            "would use one device. Unset it with keras.distribution.set_distribution(None), or train on JAX, where it "
            "works on several devices, in one process or several."
        )
