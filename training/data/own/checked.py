"""Rows whose labels were checked by hand: a table of ids and true labels, and one of rows to check."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.files import replaced, sha256_of
from scbch_keras.labels.posterior import Proposal
from scbch_keras.safe_text import csv_cell, from_csv_cell, visible
from scbch_keras.training.data.own.file_formats import TABLE_READERS
from scbch_keras.training.data.own.rows import Table
from scbch_keras.training.data.own.vocabulary import label_lists, number_labels
from scbch_keras.training.data.problems import check_ids, refuse


class Checked(NamedTuple):
    """Rows and their true labels, as `posterior.estimate` takes them; and where they come from, in words."""

    rows: NDArray[np.int64]
    labels: NDArray[np.uint8]
    origin: str

    @property
    def pair(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        return self.rows, self.labels


def read_checked(
    path: Path, ids: Sequence[str] | NDArray[np.str_], label_names: Sequence[str], separator: str = ";"
) -> Checked:
    """Read a .csv or .jsonl table with the columns `id` and `labels`; others are not read. An empty cell: no label.

    Args:
        path: the table.
        ids: of the rows that are trained on.
        label_names: the labels of the data, of which those of the table must be.
        separator: between the labels of a cell, which may also be a JSON list.

    Raises:
        ValueError: names the file, the row and the value: an id that no row has, or that comes twice, a label that the
            data does not know, or a table that cannot be read.
    """
    ending = path.suffix.lower()
    if ending not in TABLE_READERS or not path.is_file():
        expected = " or ".join(TABLE_READERS)
        raise ValueError(f"checked: expected a {expected} file with the columns id and labels, got {path}")
    table = Table.of(path.name, TABLE_READERS[ending](path, refuse))
    for column in ("id", "labels"):
        if column not in table.columns:
            raise ValueError(
                f"checked: {table.name}: the column {column!r} is missing; found: "
                f"{', '.join(map(visible, table.columns))}"
            )
    if not table.cells:
        raise ValueError(f"checked: {table.name}: expected at least one row, got none")
    known = {str(name): row for row, name in enumerate(ids)}
    written = [str(cells.get("id", "")) for cells in table.cells]
    names = [name if name in known else from_csv_cell(name) for name in written]
    check_ids(table.place, names, refuse)
    for row, name in enumerate(names):
        if name not in known:
            raise ValueError(
                f"checked: {table.place(row)}: id: expected one of the {len(known):,} rows that labels are estimated "
                f"of, got {shown(name)}"
            )
    lists = label_lists(table, "labels", separator, tuple(label_names), refuse)
    labels, _, _ = number_labels(table.name, table.place, lists, None, tuple(label_names), refuse)
    origin = f"{len(names):,} rows of {path.name}, SHA-256 {sha256_of(path)[:16]}"
    return Checked(np.array([known[name] for name in names], np.int64), labels, origin)


def write_proposal(
    path: Path, proposal: Proposal, ids: Sequence[str], labels: NDArray[Any], label_names: Sequence[str]
) -> None:
    """Write the rows to check as CSV, the first to begin with: correct `labels`, and `read_checked` reads it.

    Columns id; labels, the given ones as a JSON list; expected_wrong, the expected number of wrong or missing ones.
    """
    content = io.StringIO(newline="")
    writer = csv.writer(content)
    writer.writerow(("id", "labels", "expected_wrong"))
    for row, wrong in zip(proposal.rows.tolist(), proposal.wrong_labels.tolist(), strict=True):
        given = [label_names[column] for column in np.flatnonzero(labels[row]).tolist()]
        writer.writerow((csv_cell(str(ids[row])), json.dumps(given, ensure_ascii=False), f"{wrong:.2f}"))
    with replaced(path) as file:
        file.write(content.getvalue().encode())


def proposal_in_words(proposal: Proposal, path: Path) -> str:
    """What was written, and what to do with it."""
    wrong, share = proposal.wrong_labels.sum(), proposal.error_removed
    words = (
        f"{path}: {len(proposal.rows):,} rows to check ({proposal.by}), with {wrong:.0f} wrong or missing labels by "
        f"the probabilities; to know them takes away {share:.0%} of the expected error. Correct the column labels, "
        "and give the file as --checked."
    )
    if proposal.by != "random":
        words += " Rates counted on rows that were not drawn at random are not those of the data."
    return words
