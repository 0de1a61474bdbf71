"""Whether a loader yields the same batches again after its process has ended, and what it takes."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from scbch_keras.features import arrays_of

_SAMPLERS = (
    "SequentialSampler",
    "RandomSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
    "BatchSampler",
)


class LoaderOrder:
    """The state of a loader's order.

    Known are lists of batches, loaders with `state_dict()` and `load_state_dict()`, and torch `DataLoader`s with
    torch's own samplers, whose generators, or the global one, say the order.

    Args:
        loader: the training set behind `LoaderPairs`.
        fixed: whether its user says that each pass yields the same batches.

    Raises:
        ValueError: a loader whose order cannot be brought back.
    """

    def __init__(self, loader: Any, fixed: bool) -> None:
        self._stateful = (
            loader if hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict") else None
        )
        self._generators: list[Any] = []
        if self._stateful is not None or isinstance(loader, list | tuple) or fixed:
            return
        unknown = self._read_torch(loader)
        if unknown:
            raise ValueError(
                f"ResumableBackup cannot bring back the order of {unknown}. Pass arrays or a PairDataset; or give the "
                "loader state_dict() -> dict of plain values and load_state_dict(dict); or, where each pass yields the "
                "same batches in the same order, say so: ResumableBackup(..., fixed_order=True), which is checked."
            )

    def _read_torch(self, loader: Any) -> str:
        """Keep the generators of a torch loader; what is unknown in it, or ""."""
        kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(loader).__mro__}
        if "torch.utils.data.dataloader.DataLoader" not in kinds:
            return f"a {type(loader).__module__}.{type(loader).__qualname__}"
        if any(kind.__name__ == "IterableDataset" for kind in type(loader.dataset).__mro__):
            return f"{type(loader.dataset).__qualname__}, an IterableDataset"
        samplers = [loader.batch_sampler, loader.sampler, getattr(loader.batch_sampler, "sampler", None)]
        for sampler in samplers:
            kind = type(sampler)
            if sampler is not None and not (
                kind.__module__ == "torch.utils.data.sampler" and kind.__name__ in _SAMPLERS
            ):
                return f"the sampler {kind.__module__}.{kind.__qualname__}"
        for owner in (loader, *samplers):
            generator = getattr(owner, "generator", None)
            if generator is not None and not any(generator is known for known in self._generators):
                self._generators.append(generator)
        return ""

    def state(self) -> dict[str, Any]:
        """Plain values and arrays."""
        generators = [generator.get_state().numpy() for generator in self._generators]
        own = None if self._stateful is None else self._stateful.state_dict()
        return {"generators": generators, "own": own}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Bring back what `state` read."""
        if self._generators:
            import torch

            for generator, values in zip(self._generators, state["generators"], strict=True):
                generator.set_state(torch.from_numpy(values))
        if self._stateful is not None:
            self._stateful.load_state_dict(state["own"])


class PassDigest:
    """Checksums of the batches of a pass, each with all before it: what a loader yields again can be held to them."""

    def __init__(self) -> None:
        self._passed: list[str] = []

    def add(self, number: int, batch: tuple[Any, ...]) -> None:
        """Count in a batch, in order; a pass begins with batch 0."""
        if number == 0:
            self._passed = []
        if number != len(self._passed):
            return
        digest = hashlib.sha256(self._passed[-1].encode() if self._passed else b"")
        x, *rest = batch
        for name, features in (*x.items(), *enumerate(rest)):
            for shown, values in arrays_of(str(name), features):
                digest.update(f"{shown} {values.dtype} {values.shape}".encode())
                digest.update(np.ascontiguousarray(values).tobytes())
        self._passed.append(digest.hexdigest())

    def of(self, batches: int) -> str:
        """Of the first so many batches of the pass."""
        return self._passed[batches - 1] if 0 < batches <= len(self._passed) else ""
