"""What a store of codes is: the description of a table, conditions of a search, and what each adapter does."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import whole
from scbch_keras.export.format.source import Source
from scbch_keras.export.stores.address import check_column
from scbch_keras.files import loads

Kind = Literal["integers", "strings"]
KINDS = ("integers", "strings")
_MARK = "scbch_keras"
_SCHEMA = 1

Found = list[tuple[Any, int]]
"""Ids and distances of a query's results, by distance, then by id."""
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Description:
    """What a table says of its codes.

    bits: code length.
    source: which model makes the codes; None where nobody said.
    ids: whether ids are integers or strings.
    columns: further columns and what they hold.
    """

    bits: int
    source: Source | None
    ids: Kind
    columns: Mapping[str, Kind] = field(default_factory=dict)

    def to_text(self) -> str:
        """As it is kept beside the table."""
        source = None if self.source is None else self.source.to_json()
        content = {"bits": self.bits, "source": source, "ids": self.ids, "columns": dict(self.columns)}
        return json.dumps({_MARK: _SCHEMA, **content})

    @classmethod
    def from_text(cls, text: str | None, place: str) -> Self:
        """What `to_text` gave. Raises ValueError for a table of somebody else's, or of a later schema."""
        try:
            stored = loads(text or "")
            schema = stored[_MARK]
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{place} is not a table of codes: it has no description by scbch_keras. Name another table"
            ) from None
        if schema != _SCHEMA:
            raise ValueError(f"{place} has schema {schema!r}; this version reads schema {_SCHEMA}")
        try:
            source = None if stored["source"] is None else Source.from_json(stored["source"])
            for name, kind in stored["columns"].items():
                check_column(name)
                if kind not in KINDS:
                    raise ValueError(f"column {name} of {kind!r}")
            if stored["ids"] not in KINDS:
                raise ValueError(f"ids of {stored['ids']!r}")
            return cls(whole("bits", stored["bits"], 1), source, stored["ids"], stored["columns"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{place} has a description that is damaged: {error}") from error

    def kind(self, column: str) -> Kind:
        """What a column holds, the ids' among them."""
        return self.ids if column == "id" else self.columns[column]


class Condition(NamedTuple):
    """On one column: any of `values`, or from `low` to `high`, both among them."""

    column: str
    values: list[Any] | None
    low: int = 0
    high: int = 0


class Rows(NamedTuple):
    """What is added. `columns` has a list for each column of the table, in the description's order."""

    codes: NDArray[np.uint8]
    ids: list[Any]
    columns: Mapping[str, list[Any]]


class Store(Protocol):
    """A table of codes in a store. Arguments have been checked against the description by the time they come here.

    Each method raises ConnectionError where the store does not answer, and ValueError where the table is not what
    `description` says: another process may have replaced it.
    """

    place: str

    def described(self) -> Description | None:
        """What the table says of itself; None where there is none. ValueError: it is somebody else's."""

    def add(
        self, description: Description, rows: Rows, batch_size: int, progress: Progress, *, is_first: bool
    ) -> None:
        """Add all rows or none. ValueError: an id is in use.

        is_first: there was no table when the index was opened: it is made where there still is none.
        """

    def remove(self, description: Description, ids: list[Any]) -> None:
        """Remove all ids or none. ValueError: one is not there."""

    def present(self, description: Description, ids: list[Any]) -> set[Any]:
        """Those of the ids that the table has."""

    def count(self, description: Description) -> int:
        """How many codes the table has."""

    def nearest(
        self,
        description: Description,
        codes: NDArray[np.uint8],
        k: int,
        where: Sequence[Condition],
        exact: bool,
    ) -> list[Found]:
        """The k nearest to each query among the rows that meet all conditions, or all of them if they are fewer."""

    def has_approximate(self, description: Description) -> bool:
        """Whether there is what `exact=False` searches in."""

    def build_approximate(self, description: Description) -> None:
        """Make it. ValueError: the store has none for bits."""

    def close(self) -> None:
        """Give back what is held. The table stays."""


def check_unchanged(place: str, now: Description | None, then: Description) -> None:
    """Refuse a table that was dropped or replaced since it was opened."""
    if now != then:
        was = "dropped" if now is None else "replaced by another"
        raise ValueError(f"{place} was {was} since it was opened; connect again")
