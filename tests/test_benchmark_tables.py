import importlib.util
import json

import pytest

from benchmarks import tables
from benchmarks.measure import RESULTS

pytestmark = pytest.mark.numpy_only


def test_the_readme_has_the_tables_that_the_commands_wrote():
    text = tables.README.read_text(encoding="utf-8")
    assert tables.filled(text) == text
    stored = {path.stem for path in RESULTS.glob("*.json")}
    assert stored == {place[2] for place in tables._PLACE.finditer(text)}


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_result_says_what_it_was_measured_with(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    words = content["command"].split()
    assert words[:2] == ["python", "-m"]
    assert importlib.util.find_spec(words[2])
    assert {"numpy", "python"} <= set(content["versions"])
    assert content["processor"]
    assert all(len(row) == len(content["columns"]) for row in content["rows"])


def test_a_table_that_is_not_that_of_its_file_is_found():
    text = tables.README.read_text(encoding="utf-8")
    stale = tables._PLACE.sub(r"\1an earlier table\n\n\3", text)
    assert "an earlier table" in stale
    assert tables.filled(stale) == text
