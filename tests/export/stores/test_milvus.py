"""Milvus, by milvus-lite: what it takes, drops or leaves in silence is noticed."""

from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbch_keras.export import HammingIndex
from scbch_keras.export.stores.address import address
from scbch_keras.export.stores.base import Description

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]
pytest.importorskip("pymilvus")

ZERO = np.zeros((1, 1), np.uint8)
_NUMBERS = count()


@pytest.fixture
def table():
    return f"own_{next(_NUMBERS)}"


def test_more_equal_codes_than_milvus_returns_come_in_the_order_of_their_ids(milvus, table):
    rng = np.random.default_rng(0)
    ids = rng.permutation(100_000)[:20_000]
    codes = np.zeros((20_000, 1), np.uint8)
    codes[:3] = 255
    with HammingIndex.connect(milvus.url, table, bits=8) as index:
        index.add(codes, ids)
        for k in (2, 100):
            expected = np.sort(ids[3:])[:k]
            assert index.search(ZERO, k)[0].tolist() == [expected.tolist()]
        near = np.full((1, 1), 255, np.uint8)
        expected = [*np.sort(ids[:3]), *np.sort(ids[3:])[:4]]
        assert index.search(near, 7)[0].tolist() == [expected]
        assert len(index) == 20_000
        assert index.search(ZERO, 5, among=ids)[0].tolist() == [np.sort(ids[3:])[:5].tolist()]


@settings(max_examples=5, deadline=None)
@given(
    strings=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'"), min_size=1),
        unique=True,
        min_size=1,
    )
)
def test_any_string_without_control_characters_is_found_again(milvus, strings):
    with HammingIndex.connect(milvus.url, f"strings_{next(_NUMBERS)}", bits=8) as index:
        index.add(np.zeros((len(strings), 1), np.uint8), strings, columns={"same": strings})
        for string in strings:
            assert index.search(ZERO, 2, where={"same": string})[0].tolist() == [[string]]
        assert index.search(ZERO, len(strings))[0].tolist() == [sorted(strings)]
        index.remove(strings)
        assert len(index) == 0


def test_what_milvus_would_miss_or_cut_is_refused(milvus, table):
    with HammingIndex.connect(milvus.url, table, bits=8) as index:
        for ids, columns in ((["a\n", "b"], ["x", "y"]), (["a", "b"], ["x", "\x1f"])):
            with pytest.raises(ValueError, match="must not hold control characters"):
                index.add(np.zeros((2, 1), np.uint8), ids, columns={"shop": columns})
        index.add(ZERO, ["a"], columns={"shop": ["x"]})
        with pytest.raises(ValueError, match="must not hold ' in milvus-lite"):
            index.add(ZERO, ["it's"], columns={"shop": ["it's"]})
        assert "a\n" not in index
        with pytest.raises(ValueError, match="control characters"):
            index.search(ZERO, 1, where={"shop": "\n"})
        with pytest.raises(ValueError, match="k must be less than 16384"):
            index.search(ZERO, 16384)
        with pytest.raises(ValueError, match="at most 8192 at a time"):
            index.remove([str(n) for n in range(8193)])
        with pytest.raises(ValueError, match="searches Milvus exactly"):
            index.build_approximate()
        assert len(index) == 1


@pytest.mark.parametrize(
    ("description", "message"), [("", "no description by scbch_keras"), ('{"scbch_keras": 9}', "schema 9")]
)
def test_a_collection_of_somebody_elses_is_refused_and_stays(milvus, table, description, message):
    from pymilvus import DataType

    client = milvus.client()
    schema = client.create_schema(description=description)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("code", DataType.BINARY_VECTOR, dim=8)
    client.create_collection(table, schema=schema)
    with pytest.raises(ValueError, match=message):
        HammingIndex.connect(milvus.url, table, bits=8)
    assert client.has_collection(table)


def test_a_collection_that_was_dropped_is_noticed(milvus, table):
    with HammingIndex.connect(milvus.url, table, bits=8) as index:
        index.add(ZERO, [1])
        milvus.client().drop_collection(f"{table}_unfinished")
        with pytest.raises(ValueError, match="is not whole"):
            len(index)
        milvus.client().drop_collection(table)
        for call in (lambda: len(index), lambda: index.add(ZERO, [2]), lambda: index.search(ZERO, 1)):
            with pytest.raises(ValueError, match="was dropped"):
                call()


def collection(milvus, name, description, bits, **fields):
    """A collection as an index makes it, with these fields beside."""
    from pymilvus import DataType

    client = milvus.client()
    schema = client.create_schema(description=description)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("code", DataType.BINARY_VECTOR, dim=bits)
    for field, kind in fields.items():
        schema.add_field(field, getattr(DataType, kind))
    client.create_collection(name, schema=schema)


@pytest.mark.parametrize(
    ("bits", "fields"), [(16, {"addition": "INT64"}), (8, {}), (8, {"addition": "INT64", "more": "INT64"})]
)
def test_a_collection_that_is_not_what_it_says_is_refused(milvus, table, bits, fields):
    collection(milvus, table, Description(8, None, "integers").to_text(), bits, **fields)
    with pytest.raises(ValueError, match="has other columns than its description says"):
        HammingIndex.connect(milvus.url, table, bits=8)


def test_a_collection_that_was_replaced_is_noticed(milvus, table):
    with HammingIndex.connect(milvus.url, table, bits=8) as index:
        index.add(ZERO, [1])
        milvus.client().drop_collection(table)
        with HammingIndex.connect(milvus.url, table, bits=7) as other:
            other.add(ZERO, [1])
            for call in (
                lambda: len(index),
                lambda: index.add(ZERO, [2]),
                lambda: index.remove([1]),
                lambda: index.search(ZERO, 1),
            ):
                with pytest.raises(ValueError, match="was replaced by another"):
                    call()
            assert len(other) == 1


def test_a_collection_of_somebody_elses_in_the_place_of_the_unfinished_additions_is_refused(milvus, table):
    collection(milvus, f"{table}_unfinished", "mine", 8)
    with HammingIndex.connect(milvus.url, table, bits=8) as index:
        with pytest.raises(ValueError, match=f"needs the name {table}_unfinished too"):
            index.add(ZERO, [1])
        assert len(index) == 0


@pytest.mark.parametrize("name", ["no/folder/x.db", "a b.db", "x" * 40 + ".db"])
def test_a_file_that_milvus_lite_cannot_make_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="must name a file of milvus-lite"):
        HammingIndex.connect(f"milvus://{tmp_path}/{name}", "codes", bits=8)


def test_a_server_is_addressed_with_its_token_and_database():
    from scbch_keras.export.stores.milvus import Milvus

    store = Milvus(address("milvus://me:p%40ss@host/shop?secure=true#codes"))
    assert store._settings == {"uri": "https://host:19530", "token": "me:p@ss", "db_name": "shop"}
    assert store.place == "milvus://host/shop#codes"
    with pytest.raises(ValueError, match="url cannot be read"):
        Milvus(address("milvus://host?secret=1#codes"))
    with pytest.raises(ValueError, match="no schemas"):
        Milvus(address("milvus://host#a.b"))


def test_a_server_that_does_not_answer_is_one_error_without_the_password(monkeypatch):
    monkeypatch.setattr("scbch_keras.export.stores.milvus.PATIENCE", 1.0)
    with pytest.raises(ConnectionError, match="reading the table's description failed") as raised:
        HammingIndex.connect("milvus://me:hunter2@127.0.0.1:1/d", "codes", bits=8)
    assert "hunter2" not in str(raised.value)
