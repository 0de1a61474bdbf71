"""Codes in PostgreSQL with pgvector: columns of type bit(n), searched by its Hamming distance `<~>`."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from scbch_keras.export.stores.address import Address, unreadable
from scbch_keras.export.stores.base import Condition, Description, Found, Progress, Rows, check_unchanged
from scbch_keras.export.stores.index import not_there

_TYPES: dict[str, tuple[LiteralString, str]] = {
    "integers": ("bigint", "bigint"),
    # Ordered by code points, whatever the database's own collation.
    "strings": ('text COLLATE "C"', "text"),
}
"""Of a kind: the type as it is made, and as the catalogue has it."""
_QUERIES = 64
_EF_SEARCH = 1000
_BAD_VALUES = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,
    errors.ProgramLimitExceeded,
)
_AT_ONCE = (errors.SerializationFailure, errors.DeadlockDetected, errors.DuplicateTable)


class Postgres:
    """One table. Connections are kept for the next call, and not carried into forked processes."""

    def __init__(self, target: Address):
        self.place = target.place
        self._table = sql.Identifier(*target.table.split("."))
        try:
            settings = conninfo_to_dict(target.url)
        except psycopg.Error:
            unreadable(target.scheme)
        self._secrets = [str(settings[name]) for name in ("password", "sslpassword") if settings.get(name)]
        defaults: dict[str, Any] = {"connect_timeout": 10, "application_name": "scbch_keras"}
        self._settings = make_conninfo(**(defaults | settings))
        # Appending and popping are single steps: threads need no lock.
        self._free: list[psycopg.Connection[Any]] = []
        self._process = os.getpid()

    def described(self) -> Description | None:
        with self._transaction("reading the table's description") as cursor:
            return self._description(cursor)

    def add(
        self, description: Description, rows: Rows, batch_size: int, progress: Progress, *, is_first: bool
    ) -> None:
        sent: list[Any] = []
        try:
            with self._transaction("adding codes") as cursor:
                self._check(cursor, description, may_make=is_first)
                names = sql.SQL(", ").join(map(sql.Identifier, ("id", "code", *description.columns)))
                statement = sql.SQL("COPY {} ({}) FROM STDIN").format(self._table, names)
                columns = list(rows.columns.values())
                for start in range(0, len(rows.ids), batch_size):
                    part = slice(start, start + batch_size)
                    bits, sent = _as_bits(rows.codes[part], description.bits), rows.ids[part]
                    with cursor.copy(statement) as copy:
                        for row in zip(sent, bits, *(column[part] for column in columns), strict=True):
                            copy.write_row(row)
                    progress(len(bits))
        except errors.UniqueViolation as error:
            used = self.present(description, sent)
            first = next((id for id in sent if id in used), None)
            if first is None:  # two made the table, or one of the ids, at the same moment
                raise self._translated(
                    errors.SerializationFailure(str(error)), "adding codes", False
                ) from None
            raise ValueError(
                f"ids must be new to {self.place}; id {first!r} is in use (remove frees it). Nothing was added"
            ) from None

    def remove(self, description: Description, ids: list[Any]) -> None:
        with self._transaction("removing codes") as cursor:
            self._check(cursor, description)
            statement = sql.SQL("DELETE FROM {} WHERE id = ANY(%s::{}[]) RETURNING id")
            cursor.execute(self._statement(statement, description), (ids,))
            removed = {id for (id,) in cursor}
            if len(removed) < len(ids):
                raise not_there("ids", set(ids) - removed, len(ids))

    def present(self, description: Description, ids: list[Any]) -> set[Any]:
        with self._transaction("looking for ids") as cursor:
            self._check(cursor, description)
            statement = sql.SQL("SELECT id FROM {} WHERE id = ANY(%s::{}[])")
            cursor.execute(self._statement(statement, description), (ids,))
            return {id for (id,) in cursor}

    def count(self, description: Description) -> int:
        with self._transaction("counting codes") as cursor:
            self._check(cursor, description)
            return int(_one(cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(self._table))))

    def nearest(
        self,
        description: Description,
        codes: NDArray[np.uint8],
        k: int,
        where: Sequence[Condition],
        exact: bool,
    ) -> list[Found]:
        found: list[Found] = [[] for _ in codes]
        with self._transaction("searching") as cursor:
            self._check(cursor, description)
            if not exact:
                # Without the iterative scan a filter takes its rows out of the ef_search nearest alone, and
                # results are missing without a word.
                cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
                cursor.execute(sql.SQL("SET LOCAL hnsw.ef_search = {}").format(max(40, min(k, _EF_SEARCH))))
                cursor.execute("SET LOCAL enable_seqscan = off")
                self._search(cursor, description, codes, k, where, exact, found, list(range(len(codes))))
            # The scan also ends after hnsw.max_scan_tuples: where it found too few, all rows are searched.
            missing = [row for row, results in enumerate(found) if len(results) < k]
            self._search(cursor, description, codes, k, where, True, found, missing)
        return found

    def has_approximate(self, description: Description) -> bool:
        with self._transaction("looking for an approximate index") as cursor:
            self._check(cursor, description)
            return self._has_hnsw(cursor)

    def build_approximate(self, description: Description) -> None:
        with self._transaction("building the approximate index") as cursor:
            self._check(cursor, description)
            if not self._has_hnsw(cursor):
                cursor.execute(
                    sql.SQL("CREATE INDEX ON {} USING hnsw (code bit_hamming_ops)").format(self._table)
                )

    def close(self) -> None:
        free, self._free = self._free, []
        if self._process == os.getpid():
            for connection in free:
                connection.close()

    def _search(
        self,
        cursor: psycopg.Cursor[Any],
        description: Description,
        codes: NDArray[np.uint8],
        k: int,
        where: Sequence[Condition],
        exact: bool,
        found: list[Found],
        chosen: list[int],
    ) -> None:
        """Put the results of the chosen queries into `found`."""
        clauses: list[sql.Composable] = [sql.SQL("TRUE")]
        values: list[Any] = []
        for condition in where:
            column = sql.Identifier(condition.column)
            if condition.values is None:
                clauses.append(sql.SQL("t.{} BETWEEN %s AND %s").format(column))
                values += [condition.low, condition.high]
            else:
                kind = sql.SQL(_TYPES[description.kind(condition.column)][1])
                clauses.append(sql.SQL("t.{} = ANY(%s::{}[])").format(column, kind))
                values.append(condition.values)
        # An approximate index is used for an order by the bare operator, and for no other.
        order = sql.SQL("distance, t.id" if exact else "t.code <~> q.code")
        statement = sql.SQL(
            "SELECT q.place, r.id, r.distance FROM unnest(%s::bit({})[]) WITH ORDINALITY AS q(code, place) "
            "CROSS JOIN LATERAL (SELECT t.id, (t.code <~> q.code)::int AS distance FROM {} AS t "
            "WHERE {} ORDER BY {} LIMIT %s) AS r ORDER BY q.place, r.distance, r.id"
        ).format(sql.Literal(description.bits), self._table, sql.SQL(" AND ").join(clauses), order)
        for start in range(0, len(chosen), _QUERIES):
            part = chosen[start : start + _QUERIES]
            for row in part:
                found[row] = []
            queries = "{" + ",".join(_as_bits(codes[part], description.bits)) + "}"
            for place, id, distance in cursor.execute(statement, (queries, *values, k)):
                found[part[place - 1]].append((id, distance))

    def _statement(self, statement: sql.SQL, description: Description) -> sql.Composed:
        return statement.format(self._table, sql.SQL(_TYPES[description.ids][1]))

    def _check(
        self, cursor: psycopg.Cursor[Any], description: Description, *, may_make: bool = False
    ) -> None:
        now = self._description(cursor)
        if now is None and may_make:
            self._make(cursor, description)
        else:
            check_unchanged(self.place, now, description)

    def _make(self, cursor: psycopg.Cursor[Any], description: Description) -> None:
        """Make the table, within the transaction that fills it."""
        if cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone() is None:
            try:
                cursor.execute("CREATE EXTENSION vector")
            except (errors.FeatureNotSupported, errors.InsufficientPrivilege, errors.UndefinedFile) as error:
                raise ValueError(
                    f"{self.place}: the database needs pgvector 0.8 or later, `CREATE EXTENSION vector`: "
                    f"{self._reason(error)}"
                ) from None
        kinds = {"id": description.ids, **description.columns}
        lines = [
            sql.SQL("{} {} NOT NULL").format(sql.Identifier(name), sql.SQL(_TYPES[kind][0]))
            for name, kind in kinds.items()
        ]
        lines.insert(1, sql.SQL("code bit({}) NOT NULL").format(sql.Literal(description.bits)))
        cursor.execute(
            sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY (id))").format(self._table, sql.SQL(", ").join(lines))
        )
        comment = sql.Literal(description.to_text())
        cursor.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(self._table, comment))

    def _description(self, cursor: psycopg.Cursor[Any]) -> Description | None:
        name = self._table.as_string(None)
        row = cursor.execute(
            "SELECT c.oid, c.relkind, obj_description(c.oid, 'pg_class') FROM pg_class c "
            "WHERE c.oid = to_regclass(%s)",
            (name,),
        ).fetchone()
        if row is None:
            return None
        oid, kind, comment = row
        if kind not in ("r", "p"):
            raise ValueError(
                f"{self.place} is not a table of codes, but a view or another thing of that name"
            )
        description = Description.from_text(comment, self.place)
        columns = cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped",
            (oid,),
        )
        expected = {name: _TYPES[kind][1] for name, kind in description.columns.items()}
        expected |= {"id": _TYPES[description.ids][1], "code": f"bit({description.bits})"}
        if dict(columns.fetchall()) != expected:
            raise ValueError(
                f"{self.place} has other columns than its description says: it was changed since"
            )
        return description

    def _has_hnsw(self, cursor: psycopg.Cursor[Any]) -> bool:
        statement = (
            "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam "
            "WHERE i.indrelid = to_regclass(%s) AND i.indisvalid AND i.indpred IS NULL AND a.amname = 'hnsw'"
        )
        return cursor.execute(statement, (self._table.as_string(None),)).fetchone() is not None

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[psycopg.Cursor[Any]]:
        """A cursor in a transaction that is committed if the block ends well, and else never happened."""
        connection, is_ending = None, False
        try:
            connection = self._connection()
            with connection.cursor() as cursor:
                yield cursor
            is_ending = True
            connection.commit()
        except errors.UniqueViolation:
            raise
        except psycopg.Error as error:
            raise self._translated(error, doing, is_ending) from None
        finally:
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.rollback()
                if not connection.closed:
                    self._free.append(connection)

    def _connection(self) -> psycopg.Connection[Any]:
        if self._process != os.getpid():
            # What the parent holds is the parent's; psycopg does not close it from here.
            self._free, self._process = [], os.getpid()
        kept = None
        with suppress(IndexError):
            kept = self._free.pop()
        if kept is not None:
            with suppress(psycopg.Error):
                kept.execute("")  # the server may have been restarted since
                return kept
            kept.close()
        made = psycopg.connect(self._settings)
        made.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return made

    def _reason(self, error: psycopg.Error) -> str:
        reason = " ".join(str(error).split()) or type(error).__name__
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        return reason

    def _translated(self, error: psycopg.Error, doing: str, is_ending: bool) -> Exception:
        message = f"{self.place}: {doing} failed: {self._reason(error)}"
        if is_ending and not error.sqlstate:
            return ConnectionError(
                f"{message}. Whether it took effect before the connection was lost is not known; `id in index` tells"
            )
        message += ". Nothing was changed"
        if isinstance(error, _AT_ONCE):
            return ConnectionError(f"{message}: another process changed the same at that moment; try again")
        if isinstance(error, errors.InsufficientPrivilege):
            return PermissionError(message)
        return (ValueError if isinstance(error, _BAD_VALUES) else ConnectionError)(message)


def _one(cursor: psycopg.Cursor[Any]) -> Any:
    row = cursor.fetchone()
    return None if row is None else row[0]


def _as_bits(codes: NDArray[np.uint8], bits: int) -> list[str]:
    """Packed codes (n, ceil(bits / 8)) -> strings of 0 and 1."""
    digits = np.unpackbits(codes, axis=1, count=bits) + np.uint8(ord("0"))
    return [text.decode() for text in np.ascontiguousarray(digits).view(f"S{bits}")[:, 0].tolist()]
