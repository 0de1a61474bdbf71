"""A mixture of two Gaussians in one dimension: which of the values belong to the lower one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def lower_component(
    values: NDArray[np.floating], steps: int = 10, tolerance: float = 0.5, variance: float = 5e-4
) -> NDArray[np.float64]:
    """Probability (N,) that a value belongs to the component of the lower mean.

    Expectation-maximisation from the two means that split the values best around a middle.

    Args:
        values: (N,), finite.
        steps: int >= 1, at most so many.
        tolerance: ends it where a step changes the mean log-likelihood by less.
        variance: added to both components' variances.

    Returns:
        (N,) in [0, 1]; all 1 where the values are all the same.
    """
    values = np.asarray(values, np.float64)
    if values.min() == values.max():
        return np.ones(len(values))
    upper = values > _middle(values)
    share = np.stack([~upper, upper]).astype("float64")
    components = _fit(values, share, variance)
    before = -np.inf
    for _ in range(steps):
        share, likelihood = _expect(values, *components)
        components = _fit(values, share, variance)
        if abs(likelihood - before) < tolerance:
            break
        before = likelihood
    share, _ = _expect(values, *components)
    return share[np.argmin(components[1])]


def _middle(values: NDArray[np.floating]) -> float:
    """The threshold halfway between the means of what lies below and above it (two-means)."""
    middle = (values.min() + values.max()) / 2
    while True:
        upper = values > middle
        moved = (values[upper].mean() + values[~upper].mean()) / 2
        if np.array_equal(values > moved, upper):
            return moved
        middle = moved


def _fit(values: NDArray[Any], share: NDArray[Any], variance: Any) -> Any:
    """Mass, mean and variance of each component, (2,) each, of shares (2, N)."""
    mass = share.sum(axis=1) + 1e-12
    mean = share @ values / mass
    return mass / len(values), mean, share @ values**2 / mass - mean**2 + variance


def _expect(values: NDArray[Any], mass: NDArray[Any], mean: NDArray[Any], variance: NDArray[Any]) -> Any:
    """Share (2, N) of each component in each value, and the mean log-likelihood."""
    distance = (values[None, :] - mean[:, None]) ** 2 / variance[:, None]
    density = np.log(mass)[:, None] - (np.log(2 * np.pi * variance)[:, None] + distance) / 2
    total = np.logaddexp(density[0], density[1])
    return np.exp(density - total), total.mean()
