"""Codes in Milvus: binary vectors under the metric HAMMING. What Milvus takes or drops in silence is checked here.

Milvus has no transactions. Each row says with which addition it came, and a second collection, TABLE_unfinished, which
additions have not ended: no call sees their rows, and the next addition removes what is left of them. So there may be
one writer at a time.
"""

import logging
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient, MilvusException

from scbch_keras.checks import shown
from scbch_keras.export.stores.address import Address, unreadable
from scbch_keras.export.stores.base import Condition, Description, Found, Progress, Rows, check_unchanged
from scbch_keras.export.stores.index import not_there
from scbch_keras.export.stores.milvus_filters import (
    any_of,
    check_literals,
    condition_filter,
    has_control,
    literal,
    visible,
)

PATIENCE = 60.0
"""Seconds after which a call that is not answered has failed."""
_MOST_RESULTS = 2**14
_LEAST_RESULTS = 2**7
"""Asked for at first, however few are wanted: ties at the last place mean another search."""
_AT_ONCE = 2**13
"""Ids in one filter, and rows in one message."""
_QUERIES = 64
_GROWTH = 8
_MAX_BYTES = 2**16 - 1
_NO_CONNECTION = 2
_FIRST_OF_SERVER = 100
"""Codes of errors: from here on the server refuses what it was asked."""
_FILE = re.compile(r"[A-Za-z0-9._-]{1,36}")
_JOURNAL = "additions to a scbch_keras table of codes that have not ended"

Result = TypeVar("Result")

# Each error is raised; the client's log has it once more, with a traceback of several pages.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class Milvus:
    """One collection, in a server or in a file of milvus-lite. One client, which threads share."""

    def __init__(self, target: Address):
        self.place = target.place
        self._name, self._journal = target.table, f"{target.table}_unfinished"
        if "." in self._name:
            raise ValueError(f"table must be a plain name, as Milvus has no schemas, got {self._name!r}")
        self._settings, self._secrets = _settings(target)
        self._is_file = "token" not in self._settings
        self._client: MilvusClient | None = None
        self._lock = Lock()

    def described(self) -> Description | None:
        return self._call("reading the table's description", self._described)

    def add(
        self, description: Description, rows: Rows, batch_size: int, progress: Progress, *, is_first: bool
    ) -> None:
        for name, values in {"ids": rows.ids, **rows.columns}.items():
            check_literals(name, values)
        quoted = next((id for id in rows.ids if isinstance(id, str) and "'" in id), None)
        if self._is_file and quoted is not None:
            raise ValueError(
                f"ids must not hold ' in milvus-lite, which puts them into SQL as they are; got {quoted!r}"
            )
        with self._calls("adding codes") as client:
            now = self._described(client)
            if now is None and is_first:
                self._make(client, description)
            else:
                check_unchanged(self.place, now, description)
            self._clear(client)
            used = self._present(client, description, rows.ids, [])
            if used:
                first = next(id for id in rows.ids if id in used)
                raise ValueError(
                    f"ids must be new to {self.place}; id {first!r} is in use (remove frees it). Nothing was added"
                )
            addition = secrets.randbits(62)
            client.insert(self._journal, [{"id": addition, "unused": b"\0"}], timeout=PATIENCE)
            is_ending = False
            try:
                self._insert(client, rows, addition, min(batch_size, _AT_ONCE), progress)
                mine = f"addition == {addition}"
                stored = self._count(client, mine)
                if stored != len(rows.ids) or addition not in self._unfinished(client):
                    raise ConnectionError(
                        f"{self.place}: adding codes failed: Milvus has {stored} of {len(rows.ids)} rows; another "
                        "process may have added at the same time, and there may be one writer. Nothing was added"
                    )
                is_ending = True
                client.delete(self._journal, ids=[addition], timeout=PATIENCE)
            except (MilvusException, grpc.RpcError) as error:
                if is_ending:
                    raise self._translated(error, "adding codes", in_doubt=True) from None
                raise

    def remove(self, description: Description, ids: list[Any]) -> None:
        if len(ids) > _AT_ONCE:
            raise ValueError(
                f"ids must be at most {_AT_ONCE} at a time in Milvus, which removes no more of them all or none, "
                f"got {len(ids)}"
            )
        check_literals("ids", ids)
        with self._calls("removing codes") as client:
            check_unchanged(self.place, self._described(client), description)
            missing = set(ids) - self._present(client, description, ids, self._unfinished(client))
            if missing:
                raise not_there("ids", missing, len(ids))
            client.delete(self._name, filter=any_of("id", ids), timeout=PATIENCE)
            left = self._present(client, description, ids, [])
            if left:
                raise ConnectionError(f"{self.place}: Milvus kept {len(left)} of {len(ids)} codes; try again")

    def present(self, description: Description, ids: list[Any]) -> set[Any]:
        with self._calls("looking for ids") as client:
            check_unchanged(self.place, self._described(client), description)
            known = [id for id in ids if not has_control(id)]
            return self._present(client, description, known, self._unfinished(client))

    def count(self, description: Description) -> int:
        with self._calls("counting codes") as client:
            check_unchanged(self.place, self._described(client), description)
            return self._count(client, visible(self._unfinished(client)))

    def nearest(
        self,
        description: Description,
        codes: NDArray[np.uint8],
        k: int,
        where: Sequence[Condition],
        exact: bool,
    ) -> list[Found]:
        if k >= _MOST_RESULTS:
            raise ValueError(f"k must be less than {_MOST_RESULTS} in Milvus, got {k}")
        for condition in where:
            check_literals(condition.column, condition.values or [])
        with self._calls("searching") as client:
            check_unchanged(self.place, self._described(client), description)
            filters = [*map(condition_filter, where), visible(self._unfinished(client))]
            chosen = " and ".join(filter(None, filters))
            found: list[Found] = []
            packed = [code.tobytes() for code in codes]
            for start in range(0, len(packed), _QUERIES):
                part = packed[start : start + _QUERIES]
                limit = min(max(k + 1, _LEAST_RESULTS), _MOST_RESULTS)
                results = self._search(client, part, limit, chosen)
                found += [
                    self._settled(client, code, result, k, limit, chosen)
                    for code, result in zip(part, results, strict=True)
                ]
            return found

    def has_approximate(self, description: Description) -> bool:
        return False

    def build_approximate(self, description: Description) -> None:
        raise ValueError(
            f"{self.place}: this adapter searches Milvus exactly (BIN_FLAT) and builds nothing else"
        )

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _settled(
        self, client: MilvusClient, code: bytes, results: Found, k: int, limit: int, chosen: str
    ) -> Found:
        """The k first by distance and id. Among equal distances Milvus returns any, in any order.

        Where the last result is as far as the k-th, there may be such codes with smaller ids: more results are
        asked for, and when there may be no more, those whose ids come no later than the k-th that is known.
        """
        ordered = sorted(results, key=_order)
        while len(results) == limit and results[-1][1] <= ordered[k - 1][1]:
            if limit < _MOST_RESULTS:
                limit = min(limit * _GROWTH, _MOST_RESULTS)
                results = self._search(client, [code], limit, chosen)[0]
                ordered = sorted(results, key=_order)
            else:
                last, furthest = ordered[k - 1]
                closer = {result for result in ordered if result[1] < furthest}
                bounded = " and ".join(filter(None, (chosen, f"id <= {literal(last)}")))
                results = self._search(client, [code], limit, bounded)[0]
                ordered = sorted(closer.union(results), key=_order)
        return ordered[:k]

    def _search(self, client: MilvusClient, codes: list[bytes], limit: int, chosen: str) -> list[Found]:
        answers = client.search(
            self._name,
            data=codes,
            filter=chosen,
            limit=limit,
            anns_field="code",
            search_params={"metric_type": "HAMMING"},
            timeout=PATIENCE,
        )
        if len(answers) != len(codes):
            raise ConnectionError(f"{self.place}: Milvus answered {len(answers)} of {len(codes)} queries")
        return [[(hit["id"], round(hit["distance"])) for hit in hits] for hits in answers]

    def _insert(
        self, client: MilvusClient, rows: Rows, addition: int, batch_size: int, progress: Progress
    ) -> None:
        for start in range(0, len(rows.ids), batch_size):
            part = slice(start, start + batch_size)
            names = ("id", "code", *rows.columns)
            codes = [code.tobytes() for code in rows.codes[part]]
            values = zip(
                rows.ids[part], codes, *(column[part] for column in rows.columns.values()), strict=True
            )
            batch = [{**dict(zip(names, row, strict=True)), "addition": addition} for row in values]
            done = client.insert(self._name, batch, timeout=PATIENCE)["insert_count"]
            if done != len(batch):
                raise ConnectionError(
                    f"{self.place}: Milvus took {done} of {len(batch)} rows. Nothing was added"
                )
            progress(len(batch))

    def _clear(self, client: MilvusClient) -> None:
        """Remove what additions that did not end have left."""
        for addition in self._unfinished(client):
            mine = f"addition == {addition}"
            client.delete(self._name, filter=mine, timeout=PATIENCE)
            if self._count(client, mine):
                raise ConnectionError(
                    f"{self.place}: Milvus did not remove what an addition had left; try again"
                )
            client.delete(self._journal, ids=[addition], timeout=PATIENCE)

    def _unfinished(self, client: MilvusClient) -> list[int]:
        rows = client.query(
            self._journal, filter="id >= 0", output_fields=["id"], limit=_MOST_RESULTS, timeout=PATIENCE
        )
        return [row["id"] for row in rows]

    def _present(
        self, client: MilvusClient, description: Description, ids: list[Any], unfinished: list[int]
    ) -> set[Any]:
        there: set[Any] = set()
        for start in range(
            0, len(ids), _AT_ONCE
        ):  # a query returns 16,384 rows, and drops the others silently
            chosen = any_of("id", ids[start : start + _AT_ONCE])
            if unfinished:
                chosen += f" and {visible(unfinished)}"
            rows = client.query(
                self._name, filter=chosen, output_fields=["id"], limit=_MOST_RESULTS, timeout=PATIENCE
            )
            there.update(row["id"] for row in rows)
        return there

    def _count(self, client: MilvusClient, chosen: str) -> int:
        rows = client.query(self._name, filter=chosen, output_fields=["count(*)"], timeout=PATIENCE)
        return int(rows[0]["count(*)"])

    def _described(self, client: MilvusClient) -> Description | None:
        if not client.has_collection(self._name, timeout=PATIENCE):
            return None
        collection = client.describe_collection(self._name, timeout=PATIENCE)
        description = Description.from_text(collection.get("description"), self.place)
        expected = {name: _type(kind) for name, kind in description.columns.items()}
        expected |= {
            "id": _type(description.ids),
            "code": DataType.BINARY_VECTOR,
            "addition": DataType.INT64,
        }
        fields = {field["name"]: field["type"] for field in collection["fields"]}
        widths = [field["params"]["dim"] for field in collection["fields"] if field["name"] == "code"]
        if fields != expected or [int(width) for width in widths] != [_width(description.bits)]:
            raise ValueError(
                f"{self.place} has other columns than its description says: it was changed since"
            )
        if not client.has_collection(self._journal, timeout=PATIENCE):
            raise ValueError(f"{self.place} is not whole: the collection {self._journal} is missing")
        return description

    def _make(self, client: MilvusClient, description: Description) -> None:
        journal = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=_JOURNAL)
        journal.add_field("id", DataType.INT64, is_primary=True)
        journal.add_field("unused", DataType.BINARY_VECTOR, dim=8)
        if not client.has_collection(self._journal, timeout=PATIENCE):
            self._create(client, self._journal, journal, "unused")
        elif client.describe_collection(self._journal, timeout=PATIENCE).get("description") != _JOURNAL:
            raise ValueError(f"{self.place} needs the name {self._journal} too, which another collection has")
        schema = MilvusClient.create_schema(
            auto_id=False, enable_dynamic_field=False, description=description.to_text()
        )
        for name, kind in {"id": description.ids, **description.columns}.items():
            size = {"max_length": _MAX_BYTES} if kind == "strings" else {}
            schema.add_field(name, _type(kind), is_primary=name == "id", **size)
        schema.add_field("code", DataType.BINARY_VECTOR, dim=_width(description.bits))
        schema.add_field("addition", DataType.INT64)
        self._create(client, self._name, schema, "code")

    def _create(self, client: MilvusClient, name: str, schema: Any, vector: str) -> None:
        index = client.prepare_index_params()
        index.add_index(vector, index_type="BIN_FLAT", metric_type="HAMMING")
        client.create_collection(
            name, schema=schema, index_params=index, consistency_level="Strong", timeout=PATIENCE
        )

    def _call(self, doing: str, function: Callable[[MilvusClient], Result]) -> Result:
        with self._calls(doing) as client:
            return function(client)

    @contextmanager
    def _calls(self, doing: str) -> Iterator[MilvusClient]:
        """A client, whose errors become ours. One that cannot reach its server is not used again."""
        try:
            with self._lock:
                if self._client is None:
                    self._client = MilvusClient(**self._settings, timeout=min(10, PATIENCE), dedicated=True)
                client = self._client
            yield client
        except (MilvusException, grpc.RpcError) as error:
            raise self._translated(error, doing) from None

    def _translated(self, error: Exception, doing: str, in_doubt: bool = False) -> Exception:
        reason = " ".join(str(getattr(error, "message", "") or error).split())
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        message = f"{self.place}: {doing} failed: {shown(reason)}"
        if (
            isinstance(error, MilvusException)
            and isinstance(error.code, int)
            and error.code != _NO_CONNECTION
        ):
            is_refused = error.code >= _FIRST_OF_SERVER
            return (ValueError if is_refused else ConnectionError)(f"{message}. Nothing was changed")
        with self._lock:
            self._client = None
        if self._is_file:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self._settings["uri"])  # it hands out dead servers too
        outcome = (
            "Whether it took effect is not known; `id in index` tells" if in_doubt else "Nothing was changed"
        )
        return ConnectionError(f"{message}. {outcome}")


def _settings(target: Address) -> tuple[dict[str, Any], list[str]]:
    """The client's arguments, and what must not be in messages."""
    parts = urlsplit(target.url)
    path = parts.netloc + unquote(parts.path)
    if path.endswith(".db") and "@" not in path and ":" not in path and not parts.query:
        file = Path(path)
        if not _FILE.fullmatch(file.name) or not file.parent.is_dir():
            raise ValueError(
                f"url must name a file of milvus-lite of at most 36 letters, digits, . - and _ in a folder that is "
                f"there, got {path}"
            )
        return {"uri": path}, []
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    options = parse_qs(parts.query, keep_blank_values=True)
    is_secure = options.pop("secure", ["false"])
    if not parts.hostname or options or is_secure not in (["true"], ["false"]):
        unreadable(target.scheme)
    scheme = "https" if is_secure == ["true"] else "http"
    settings = {
        "uri": f"{scheme}://{parts.hostname}:{parts.port or 19530}",
        "token": f"{user}:{password}" if password else user,
        "db_name": unquote(parts.path).strip("/"),
    }
    return settings, [secret for secret in (password or user,) if secret]


def _type(kind: str) -> DataType:
    return DataType.VARCHAR if kind == "strings" else DataType.INT64


def _width(bits: int) -> int:
    """Bits of the vectors: Milvus has whole bytes, and pad bits add nothing to a distance."""
    return -(-bits // 8) * 8


def _order(result: tuple[Any, int]) -> tuple[int, Any]:
    return result[1], result[0]
