"""Text files of any system: read where they are UTF-8, refused by name where they are not."""

import json

import pytest

from scbch_keras.training.data.own.read import read_own
from scbch_keras.training.data.own.stream import open_inputs

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("h5py")
pytestmark = pytest.mark.numpy_only

ROWS = [
    {"id": "1", "picture": "p.png", "text": "caf\u00e9", "labels": "a"},
    {"id": "2", "picture": "p.png", "text": "x", "labels": "b"},
]


def content(ending, line_end):
    if ending == ".csv":
        lines = [",".join(ROWS[0]), *(",".join(row.values()) for row in ROWS)]
    elif ending == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in ROWS]
    else:
        lines = [row["text"] for row in ROWS]
    return "".join(line + line_end for line in lines)


def texts(path):
    return [text for block, _ in open_inputs(path, None, None, 1).blocks for text in block]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt"])
def test_line_ends_and_the_mark_of_utf_8_make_no_difference(tmp_path, ending, line_end, mark):
    Image.new("L", (4, 4)).save(tmp_path / "p.png")
    path = tmp_path / f"t{ending}"
    path.write_bytes((mark + content(ending, line_end)).encode())
    assert texts(path) == [row["text"] for row in ROWS]
    if ending != ".txt":
        data = read_own(path)
        assert data.texts == [row["text"] for row in ROWS]
        assert data.label_names == ("a", "b")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt"])
def test_other_unicode_is_refused_by_name(tmp_path, ending, encoding):
    path = tmp_path / f"t{ending}"
    path.write_bytes(content(ending, "\n").encode(encoding))
    for read in (texts, *([] if ending == ".txt" else [read_own])):
        with pytest.raises(
            ValueError, match=rf"t{ending}: expected UTF-8, got UTF-(16|32).*save it as UTF-8"
        ):
            read(path)


@pytest.mark.parametrize("first", [2**16 - 1, 2**16, 2**16 + 1])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lines_are_whole_wherever_a_block_ends(tmp_path, first, line_end):
    lines = ["a" * first, "", "b" * 2**17, "c"]
    (tmp_path / "t.txt").write_bytes(line_end.join(lines).encode())
    assert texts(tmp_path / "t.txt") == lines


def test_a_carriage_return_inside_a_text_is_kept(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"one\ntw\ro\n")
    assert texts(tmp_path / "t.txt") == ["one", "tw\ro"]
