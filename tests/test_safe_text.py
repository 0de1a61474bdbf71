"""Text of data on its way out: nothing in it is run, obeyed or rendered, and CSV gives it back."""

import csv
import html
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scbch_keras.safe_text import csv_cell, from_csv_cell, markdown, markdown_code, terminal
from scbch_keras.templates import html_templates

pytestmark = pytest.mark.numpy_only

HTML = html_templates().from_string("{{ x }}")

HOSTILE = [
    *("=1+1", "+1", "-1", "@SUM(A1)", " =1", "\uff1dcmd", "\t=1", "\r=1", "\n=1", "'=1"),
    *(
        "\x1b[2J",
        "a\x9bb",
        "a\u202eb",
        "\u2066a",
        "lone\rreturn",
        "a\x00b",
        "\ud800",
        "a\u2028b",
        "\\x1b\x1b",
    ),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_is_no_formula_and_holds_nothing_that_a_terminal_obeys(text):
    cell = csv_cell(text)
    assert cell.startswith("'")
    assert not set(cell) & set("\x1b\x9b\u202e\u2066\x00\ud800\u2028")
    assert from_csv_cell(cell) == text


@pytest.mark.parametrize(
    "text", ["a cat", "C:\\new", "l\nm", "l\r\nm", "\u6f22\u5b57\u3000", "\u0645\u06cc\u200c\u062e"]
)
def test_harmless_text_stays_as_it_is(text):
    assert csv_cell(text) == text
    if "\n" not in text:
        assert terminal(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_csv_gives_every_text_back(text):
    written = io.StringIO(newline="")
    csv.writer(written).writerow([csv_cell(text), "end"])
    [[cell, end]] = csv.reader(io.StringIO(written.getvalue(), newline=""))
    assert (from_csv_cell(cell), end) == (text, "end")


@given(st.text())
def test_a_terminal_gets_one_printable_line_and_html_no_tag(text):
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in terminal(text))
    assert len(terminal(text).splitlines()) <= 1
    escaped = HTML.render(x=text)
    assert not set(escaped) & set("<>\"'\x1b\u202e")
    if text.isprintable():
        assert html.unescape(escaped) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>", "&lt;script&gt;"),
        ("[a](http://b.c)", r"\[a\](http:\//b.c)"),
        ("a|b", r"a\|b"),
        ("a\n# b", "a # b"),
        ("*_`~@$\\", r"\*\_\`\~\@\$" + "\\\\"),
        ("www.a.b", r"www\.a.b"),
    ],
)
def test_markdown_shows_text_as_it_is(text, expected):
    assert markdown(text) == expected


def test_a_code_span_is_not_left():
    assert markdown_code("a`` | `b`") == r"``` a`` \| `b` ```"
    assert markdown_code("plain") == "`plain`"
