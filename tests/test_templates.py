"""Templates: nothing that a value holds is markup, whatever page or file it stands in."""

import pytest

pytest.importorskip("jinja2")
from jinja2 import UndefinedError

from scbch_keras.templates import html_templates, markdown_templates

pytestmark = pytest.mark.numpy_only

HOSTILE = ["<script>alert(1)</script>", "\" onload='x'", "a\u202eb", "\u2066c", "\x1b[2J", "&<>"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "shown", ["{{ x }}", "{{ [x]|join }}", "{{ x ~ '' }}", "{% set y %}{{ x }}{% endset %}{{ y }}"]
)
def test_text_in_html_is_text(text, shown):
    made = html_templates().from_string(shown).render(x=text)
    assert not set(made) & set("<>\"'\x1b\u202e\u2066")


@pytest.mark.parametrize("text", [*HOSTILE, "[a](http://b.c)", "a|b", "x\n# y"])
def test_text_in_markdown_is_text(text):
    made = markdown_templates().from_string("{{ x }}").render(x=text)
    assert not set(made) & set("<>\n\x1b\u202e\u2066")
    assert "](" not in made.replace("\\]", "")
    assert not set(markdown_templates().from_string("{{ x|code }}").render(x=text)) & set(
        "\n\x1b\u202e\u2066"
    )


def test_a_name_that_is_not_there_is_an_error():
    for templates in (html_templates, markdown_templates):
        with pytest.raises(UndefinedError):
            templates().from_string("{{ nowhere }}").render()
