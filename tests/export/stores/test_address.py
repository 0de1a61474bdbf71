"""URLs and table names of stores: what is odd is refused, and no password is shown."""

import traceback

import pytest

from scbch_keras.export import HammingIndex
from scbch_keras.export.stores.address import address

pytestmark = pytest.mark.numpy_only

NAMES = [
    "", "a b", 'a"b', "a'b", "a;b", "1a", "a-b", "ä", "a" * 64, "a.b.c", ".a", "a.", "a\0", "a\n", 7, "%s", "a%b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_table_names_that_need_quoting_are_refused(name):
    with pytest.raises(ValueError, match="table must be"):
        address("postgresql://localhost/photos", name)


@pytest.mark.parametrize("name", ["codes", "_Codes9", "shop.codes", "a" * 63])
def test_a_table_is_an_argument_or_behind_a_hash(name):
    expected = (
        "postgresql://u:p@h:5432/d?sslmode=require",
        "postgresql",
        name,
        f"postgresql://h:5432/d#{name}",
    )
    assert address(expected[0], name) == expected
    assert address(f"{expected[0]}#{name}") == expected


@pytest.mark.parametrize(
    ("url", "table"),
    [("postgresql://h/d", None), ("postgresql://h/d#a", "a"), ("codes.npy", "a"), ("://h", "a"), (None, "a")],
)
def test_a_store_needs_a_url_and_one_table(url, table):
    with pytest.raises(ValueError, match=r"^(url|table) must"):
        address(url, table)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:sec/ret@h/d",
        "postgresql://u:12/ret@h/d",
        "postgresql://u:sec#ret@h/d",
        "postgresql://u:sec@ret@h/d",
        "postgresql://u:sec:ret@h:x/d",
        "postgresql://u:secret@[h/d",
        "postgresql://u:secret@127.0.0.1:1/d",
        "postgresql://u:secret@127.0.0.1:1/d?nonsense=1",
        "postgresql://u@127.0.0.1:1/d?password=secret",
        "postgresql://u:secret@127.0.0.1:99999/d",
        "secret://u:secret@h/d",
        "nowhere://u:secret@h/d",
        "sec ret://u:secret@h/d",
    ],
)
def test_no_message_shows_a_password(url):
    pytest.importorskip("psycopg")
    with pytest.raises((ValueError, ConnectionError)) as raised:
        HammingIndex.connect(url, None if "#" in url else "codes", bits=8)
    shown = "".join(traceback.format_exception_only(raised.value))
    assert str(raised.value).count("secret") == int(url.startswith("secret"))
    assert not {"sec", "ret"} & set(shown.replace(":", " ").replace("/", " ").split())
    assert raised.value.__cause__ is None or "secret" not in str(raised.value.__cause__)
