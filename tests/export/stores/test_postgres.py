"""PostgreSQL: tables of others, the approximate index, privileges, processes."""

import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count

import numpy as np
import pytest

from scbch_keras.codes import pack_codes
from scbch_keras.export import HammingIndex

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]

ZERO = np.zeros((1, 1), np.uint8)
_NUMBERS = count()


@pytest.fixture
def table():
    return f"own_{next(_NUMBERS)}"


@pytest.fixture
def index(postgres, table):
    """An index of 1,000 clustered codes of 32 bits, its table with a column; and the same embedded."""
    rng = np.random.default_rng(5)
    centers = rng.random((20, 32)) < 0.5
    codes = pack_codes(centers[rng.integers(0, 20, 1000)] ^ (rng.random((1000, 32)) < 0.1))
    embedded = HammingIndex(32)
    embedded.add(codes)
    with HammingIndex.connect(postgres.url, table, bits=32) as stored:
        stored.add(codes, range(1000), columns={"group_": np.arange(1000) // 20})
        yield stored, embedded


def scans(postgres, table):
    """How often the approximate index was searched."""
    statement = (
        "SELECT pg_stat_force_next_flush(), sum(idx_scan) FROM pg_stat_user_indexes JOIN pg_class c "
        "ON c.oid = indexrelid JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'hnsw' AND relid = %s::regclass"
    )
    return postgres.run(statement, table)[0][1]


def test_exact_search_stays_exact_beside_an_approximate_index(index, postgres, table):
    stored, embedded = index
    queries = pack_codes(np.random.default_rng(6).random((30, 32)) < 0.5)
    stored.build_approximate()
    stored.build_approximate()
    for k in (1, 30, 1000):
        for mine, other in zip(stored.search(queries, k), embedded.search(queries, k), strict=True):
            np.testing.assert_array_equal(mine, other)
    stored.close()
    assert scans(postgres, table) == 0


@pytest.mark.parametrize("k", [1, 41, 300, 1000, 2000])
def test_approximate_search_is_as_wide_as_exact_search(index, k, postgres, table):
    stored, embedded = index
    queries = embedded.codes[::50]
    stored.build_approximate()
    ids, distances = stored.search(queries, k, exact=False)
    expected = embedded.search(queries, k)[1]
    assert distances.shape == expected.shape
    assert (distances <= expected[:, -1:]).mean() >= 0.9
    assert stored.recall(queries, min(k, 10)) >= 0.9
    own = np.unpackbits(embedded.codes, axis=1).astype(int)
    for row, query in enumerate(np.unpackbits(queries, axis=1).astype(int)):
        np.testing.assert_array_equal((own[ids[row]] != query).sum(1), distances[row])
        assert sorted(zip(distances[row], ids[row], strict=True)) == list(
            zip(distances[row], ids[row], strict=True)
        )
    stored.close()
    assert scans(postgres, table) > 0


def test_a_narrow_filter_finds_all_its_rows_approximately_too(index):
    stored, embedded = index
    stored.build_approximate()
    for group in (0, 49):
        expected = embedded.search(embedded.codes[:5], 20, among=range(group * 20, group * 20 + 20))
        actual = stored.search(embedded.codes[:5], 30, where={"group_": group}, exact=False)
        np.testing.assert_array_equal(actual[0], expected[0])


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE TABLE {0} (id bigint, code bit(8))", "no description by scbch_keras"),
        ("CREATE TABLE {0} (x int); COMMENT ON TABLE {0} IS 'people'", "no description by scbch_keras"),
        ("CREATE TABLE {0} (x int); COMMENT ON TABLE {0} IS '[1]'", "no description by scbch_keras"),
        (
            "CREATE TABLE {0} (x int); COMMENT ON TABLE {0} IS '{{\"scbch_keras\": 2}}'",
            "schema 2; this version reads",
        ),
        (
            'CREATE TABLE {0} (x int); COMMENT ON TABLE {0} IS \'{{"scbch_keras": 1, "bits": 8}}\'',
            "description that is damaged",
        ),
        ("CREATE VIEW {0} AS SELECT 1 AS id", "a view or another thing"),
        ("CREATE SEQUENCE {0}", "a view or another thing"),
    ],
)
def test_what_is_somebody_elses_is_refused_and_stays(postgres, table, statement, message):
    postgres.run(statement.format(table))
    with pytest.raises(ValueError, match=message):
        HammingIndex.connect(postgres.url, table, bits=8)
    assert postgres.run("SELECT to_regclass(%s) IS NOT NULL", table) == [(True,)]


def test_a_table_that_was_changed_or_replaced_is_noticed(postgres, table):
    def filled(bits):
        with HammingIndex.connect(postgres.url, table, bits=bits) as other:
            other.add(ZERO, [1])

    filled(8)
    with HammingIndex.connect(postgres.url, table) as index:
        for change, message in (
            (lambda: postgres.run(f"ALTER TABLE {table} ADD COLUMN more int"), "has other columns"),
            (lambda: postgres.run(f"DROP TABLE {table}"), "was dropped"),
            (lambda: filled(7), "was replaced"),
        ):
            change()
            for call in (
                lambda: index.add(ZERO, [2]),
                lambda: index.remove([1]),
                lambda: index.search(ZERO, 1),
                lambda: len(index),
            ):
                with pytest.raises(ValueError, match=message):
                    call()
    assert postgres.run(f"SELECT count(*) FROM {table}") == [(1,)]


def test_a_server_that_is_gone_in_mid_remove_has_removed_nothing(postgres, table):
    import psycopg

    with HammingIndex.connect(postgres.url, table, bits=8) as index:
        index.add(np.zeros((500, 1), np.uint8), range(500))
        with closing(psycopg.connect(postgres.url)) as other, ThreadPoolExecutor(1) as pool:
            # The removal waits in its middle for this row.
            other.execute(f"SELECT id FROM {table} WHERE id = 250 FOR UPDATE")
            removal = pool.submit(index.remove, range(500))
            try:
                deadline = time.monotonic() + 30
                while not postgres.run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                    assert not removal.done(), removal.result()
                    assert time.monotonic() < deadline
                postgres.kill()
                with pytest.raises(ConnectionError, match="removing codes failed"):
                    removal.result(timeout=60)
            finally:
                postgres.restart()
        assert len(index) == 500
        index.remove(range(500))
        assert len(index) == 0


def test_adds_at_the_same_moment_are_all_there_or_refused(postgres, table):
    def add(start):
        with HammingIndex.connect(postgres.url, table, bits=8) as index:
            for _ in range(20):
                try:
                    index.add(np.zeros((50, 1), np.uint8), range(start, start + 50), batch_size=7)
                    return True
                except ConnectionError as error:  # whoever lost the race may try again
                    if "try again" not in str(error):
                        raise
                except ValueError as error:
                    if "in use" not in str(error):
                        raise
                    return False

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(add, [0, 100, 0, 200, 120, 300]))
    assert done.count(True) == 4
    assert postgres.run(f"SELECT count(*) FROM {table}") == [(200,)]


def test_who_may_not_write_is_told_so(postgres, table):
    postgres.run(f"CREATE ROLE {table} LOGIN")
    with (
        HammingIndex.connect(postgres.url.replace("//postgres:", f"//{table}:"), table, bits=8) as index,
        pytest.raises(PermissionError, match="permission denied"),
    ):
        index.add(ZERO, [1])


def test_a_schema_may_stand_before_the_table(postgres, table):
    postgres.run(f"CREATE SCHEMA {table}")
    with HammingIndex.connect(f"{postgres.url}#{table}.codes", bits=8) as index:
        index.add(ZERO, ["a"])
        assert "a" in index
    assert postgres.run(f"SELECT count(*) FROM {table}.codes") == [(1,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_searches_by_a_connection_of_its_own(index):
    stored, embedded = index
    query = embedded.codes[:3]
    expected = stored.search(query, 5)[0].tolist()
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    # A process inherits the index; it is not pickled.
    children = [
        context.Process(target=lambda: results.put(stored.search(query, 5)[0].tolist())) for _ in range(3)
    ]
    for child in children:
        child.start()
    assert [results.get() for _ in children] == [expected] * 3
    for child in children:
        child.join()
    assert stored.search(query, 5)[0].tolist() == expected


def test_strings_with_quotes_and_control_characters_are_ids(postgres, table):
    with HammingIndex.connect(postgres.url, table, bits=8) as index:
        index.add(np.zeros((4, 1), np.uint8), ["\t\n", "\x01", "\x7f", "'; drop --"])
        assert index.search(ZERO, 9)[0].tolist() == [["\x01", "\t\n", "'; drop --", "\x7f"]]
        assert index.search(ZERO, 9, among=["\t\n"])[0].tolist() == [["\t\n"]]
        index.remove(["'; drop --", "\t\n"])
        assert len(index) == 2
