"""docs/reliability.md names tests that are there, and the start page holds its example."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.numpy_only
TESTS = Path(__file__).parent
NAMED = re.findall(
    r"`([\w/]+\.py)::(\w+)`", (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
)


def test_every_promise_has_a_test():
    lines = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
    promises = [
        line for line in lines if line.startswith("| ") and not line.startswith(("| promise", "| ---"))
    ]
    assert len(promises) > 20
    assert not [line for line in promises if "::" not in line]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_is_there(file, name):
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(encoding="utf-8"), re.M)


def test_the_start_page_holds_the_fifteen_lines():
    # A formatter takes the line for Python and would part its signs.
    assert '--8<-- "examples/generated_data.py"' in (TESTS.parent / "docs" / "index.md").read_text(
        encoding="utf-8"
    )
