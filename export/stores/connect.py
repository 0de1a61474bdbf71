"""The stores that there are, by the scheme of their URLs."""

from importlib import import_module
from typing import NamedTuple

from scbch_keras.export.format.source import Source
from scbch_keras.export.stores.address import address
from scbch_keras.export.stores.index import StoredIndex


class _Adapter(NamedTuple):
    module: str
    name: str
    extra: str


_ADAPTERS = {
    "milvus": _Adapter("milvus", "Milvus", "milvus"),
    "postgres": _Adapter("postgres", "Postgres", "postgres"),
    "postgresql": _Adapter("postgres", "Postgres", "postgres"),
}
"""One row a store: a `base.Store`, made from an `Address`."""


def connect(
    url: str, table: str | None = None, *, bits: int | None = None, source: Source | None = None
) -> StoredIndex:
    """As `HammingIndex.connect` says."""
    target = address(url, table)
    adapter = _ADAPTERS.get(target.scheme)
    if adapter is None:
        known = ", ".join(f"{scheme}://" for scheme in _ADAPTERS)
        raise ValueError(f"url must begin with one of {known}, got {target.scheme}://")
    try:
        module = import_module(f"scbch_keras.export.stores.{adapter.module}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{target.scheme}:// needs the package {error.name}: pip install 'scbch_keras[{adapter.extra}]'"
        ) from error
    store = getattr(module, adapter.name)(target)
    try:
        return StoredIndex(store, bits, source)
    except BaseException:
        store.close()
        raise
