"""Names of labels, or words of texts, in their order: label lists -> 0/1, and the file that stands beside a model."""

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.files import replaced, stored_json
from scbch_keras.limits import check_unfolded
from scbch_keras.stored import FileKind
from scbch_keras.training.data.own.label_cells import are_bit_strings, is_list, names_in, other_notation
from scbch_keras.training.data.own.rows import Table
from scbch_keras.training.data.problems import NO_TEXT, Place, Problem, Report

_STORED = FileKind("a vocabulary file", "format", ("scbch vocabulary 1",))


def names_of(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All names that occur, each once, sorted by code point."""
    return tuple(sorted({name for names in lists for name in names}))


def label_matrix(lists: Sequence[Iterable[str]], names: Sequence[str]) -> NDArray[np.uint8]:
    """Lists of names, n of them -> 0/1 (n, len(names)). Names that are not in `names` are left out."""
    column = {name: number for number, name in enumerate(names)}
    table = f"{len(lists):,} rows of {len(names):,} different labels"
    check_unfolded(table, len(lists) * len(names), sum(len(name) for present in lists for name in present))
    labels = np.zeros((len(lists), len(names)), np.uint8)
    for row, present in enumerate(lists):
        labels[row, [column[name] for name in present if name in column]] = 1
    return labels


def alike(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of names that differ only in case, white space, '-' and '_', in their Unicode form or unseen characters.

    So are whole numbers that differ in zeros alone, "1", "1.0" and "01".
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        seen = "".join(char for char in plain if char not in "-_" and unicodedata.category(char) != "Cf")
        key = "".join(seen.split())
        digits, _, fraction = key.partition(".")
        if digits.isdecimal() and not fraction.strip("0"):
            key = digits.lstrip("0") or "0"
        groups.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def near_duplicates(words: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of words that differ only in case, punctuation and symbols, Unicode form, or an s at the end.

    The s counts where the word without it, three letters at least, is there too: "mug", "mugs", but not "glas",
    "glass". Takes time linear in the number of words.
    """
    groups: dict[str, list[str]] = {}
    for word in dict.fromkeys(words):
        plain = unicodedata.normalize("NFKC", word).casefold()
        groups.setdefault("".join(filter(str.isalnum, plain)) or word, []).append(word)
    for plain in list(groups):
        singular = plain[:-1]
        if plain[-1:] == "s" and plain[-2:] != "ss" and len(singular) >= 3 and singular in groups:
            groups[singular] += groups.pop(plain)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def check_names(where: str, names: Iterable[str]) -> tuple[str, ...]:
    """`names` as a tuple, if it is one or more strings, each once, none blank or with blanks around it.

    Raises ValueError naming `where`, what was expected and what came.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"{where}: expected a sequence of names, got {shown(names)}")
    checked = tuple(names)
    if not checked:
        raise ValueError(f"{where}: expected at least one name, got none")
    seen = set()
    for place, name in enumerate(checked):
        if not isinstance(name, str) or not name or name != name.strip():
            raise ValueError(
                f"{where}: expected names without blanks around them, got {shown(name)} at {place}"
            )
        if name in seen:
            raise ValueError(f"{where}: expected each name once, got {shown(name)} again at {place}")
        seen.add(name)
    return tuple(str(name) for name in checked)


def vocabulary_sha256(names: Sequence[str]) -> str:
    """By which a vocabulary is recognised: the SHA-256 of its names in their order, as JSON in UTF-8."""
    return hashlib.sha256(json.dumps(list(names), ensure_ascii=False).encode()).hexdigest()


def save_vocabulary(path: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Write names, in their order, and their checksum as JSON; the file is whole or as it was before.

    Raises ValueError for names that `check_names` refuses.
    """
    checked = check_names("names", names)
    content = _STORED.marked({"sha256": vocabulary_sha256(checked), "names": checked})
    with replaced(Path(path)) as file:
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")


def load_vocabulary(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names that `save_vocabulary` wrote.

    Raises ValueError if there is no such file, if it is another kind of file, or if it was changed by hand.
    """
    path = Path(path)
    with _STORED.reading(path.name):
        content = _STORED.unmarked(stored_json(path))
        names, checksum = content["names"], content["sha256"]
    checked = check_names(path.name, names)
    if vocabulary_sha256(checked) != checksum:
        raise ValueError(f"{path.name}: the names do not fit the checksum beside them: the file was changed")
    return checked


def label_lists(
    table: Table, column: str, separator: str, vocabulary: tuple[str, ...] | None, report: Report
) -> list[list[str]]:
    """The label names of each row. Blanks around a name do not count."""
    written = [cells.get(column) for cells in table.cells]
    separated = any(isinstance(cell, str) and separator in cell and not is_list(cell) for cell in written)
    known, exists = set(vocabulary or ()), column in table.columns
    if vocabulary is None and are_bit_strings(written, separator):
        row = next(row for row, cell in enumerate(written) if cell)
        message = f"expected names of labels, got {shown(written[row])}, a row of 0 and 1 like all others"
        hint = "write the names of the labels that are set, or give the 0/1 as npz"
        report(Problem("other notation", f"{table.place(row)}: {column}: {message}: {hint}", row))
    lists = []
    for row, cell in enumerate(written):
        names = names_in(cell, separator)
        kind, wrong = wrong_labels(cell, names, separator, separated, known)
        if wrong and exists:
            report(Problem(kind, f"{table.place(row)}: {column}: {wrong}", row))
        lists.append([name for name in names or [] if name])
    return lists


def wrong_labels(
    cell: Any, names: list[str] | None, separator: str, separated: bool, known: set[str]
) -> tuple[str, str]:
    """(kind, message) of what is wrong with the labels of a row, ("", "") if nothing.

    cell: what stands in the file; names: what came of it, None if it is neither string nor list of strings.
    separated: whether any row has the separator. known: names that may hold other separators.
    """
    if names is None:
        return "bad labels", f"expected a string or a list of strings, got {shown(cell)}{_hint(cell)}"
    if "" in names:
        return "empty label", f"expected names, got an empty one in {shown(cell)}"
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        return "label twice", f"expected each label once, got {shown(twice)} again in {shown(cell)}"
    if any(NO_TEXT.search(name) for name in names):
        return "bad labels", f"expected text, got a NUL or half a surrogate pair in {shown(cell)}"
    if isinstance(cell, str) and not is_list(cell) and not known.issuperset(names):
        return other_notation(cell, names, separator, separated)
    return "", ""


def _hint(cell: Any) -> str:
    """What may be meant by labels that are neither string nor list of strings, as the end of a message."""
    if cell is None:
        return "; write [] where there is no label"
    numbers = cell if isinstance(cell, list) else [cell]
    if all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        return "; --columns labels=YOURS, with the name of this column, takes numbers of classes as names"
    return ""


def number_labels(
    file: str,
    place: Place,
    noisy: list[list[str]],
    clean: list[list[str]] | None,
    vocabulary: tuple[str, ...] | None,
    report: Report,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, tuple[str, ...]]:
    """Label lists and clean ones -> (0/1, clean 0/1, names). `vocabulary`: None if it is yet to be made of them."""
    names = names_of([*noisy, *(clean or [])]) if vocabulary is None else vocabulary
    if not names and noisy:
        report(Problem("no labels", f"{file}: labels: expected labels, got none in any row"))
    known = set(names)
    for lists in (noisy, clean or []) if vocabulary is not None else ():
        for row, present in enumerate(lists):
            for name in sorted(set(present) - known):
                message = (
                    f"{place(row)}: expected labels of the vocabulary, got the unknown label {shown(name)}"
                )
                report(Problem("unknown label", message, row))
    clean_labels = None if clean is None else label_matrix(clean, names)
    return label_matrix(noisy, names), clean_labels, names
