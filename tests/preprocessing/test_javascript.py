"""scbch.js: the words of Python, under node, for every code point and thousands of texts."""

import json
import re
import subprocess
import unicodedata
from pathlib import Path

import pytest

from scbch_keras.export import TextPipeline
from scbch_keras.export.format import layouts
from scbch_keras.preprocessing import normalization
from scbch_keras.preprocessing.normalization import CURRENT, NORMALIZATIONS, WITH_PUNCTUATION, rule_of, words
from tests.preprocessing.test_text import CODES, FORMS, codes_of, different, random_texts
from tests.servers import program

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow]

MODULE = Path(layouts.__file__).with_name("scbch.js")
RULES = tuple(NORMALIZATIONS)
CHARACTERS = rule_of("characters:2-3")


def base36(number):
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (base36(number // 36) if number >= 36 else "") + digits[number % 36]


def packed(ranges):
    """Ranges as the module has them: the gap after the one before and the length less one, in base 36."""
    before = [-1, *(last for _, last in ranges)]
    pairs = [(first - end - 1, last - first) for end, (first, last) in zip(before[:-1], ranges, strict=True)]
    return " ".join(base36(number) for pair in pairs for number in pair)


def ranges_of(codes):
    found = []
    for code in sorted(codes):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def folded():
    """[first, count, what is added or becomes] where case folding is not lower case, of what NFKC leaves."""
    unassigned = {code for first, last in normalization.UNASSIGNED for code in range(first, last + 1)}
    runs = []
    for code in CODES:
        character, becomes = chr(code), chr(code).casefold()
        if code in unassigned or unicodedata.normalize("NFKC", character) != character:
            continue
        if character.lower() == becomes:
            continue
        change = ord(becomes) - code if len(becomes) == 1 else becomes
        if runs and isinstance(change, int) and runs[-1] == [runs[-1][0], code - runs[-1][0], change]:
            runs[-1][1] += 1
        else:
            runs.append([code, 1, change])
    return runs


def test_the_tables_are_those_of_python():
    tables = json.loads(re.search(r"^const TABLES = (.*);$", MODULE.read_text(encoding="utf-8"), re.M)[1])
    assert tables == {
        "unassigned": packed(normalization.UNASSIGNED),
        "punctuation": packed(ranges_of(map(ord, normalization.PUNCTUATION))),
        "ignorable": packed(normalization.IGNORABLE),
        "separators": packed(normalization.SEPARATORS),
        "folded": folded(),
    }


@pytest.fixture
def javascript(tmp_path):
    """Run a body of JavaScript with the module in `scbch` and `given`, in node; what it returns."""
    node = program("node")
    (tmp_path / "scbch.mjs").write_bytes(MODULE.read_bytes())

    def run(body, given=None):
        (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
        (tmp_path / "main.mjs").write_text(
            'import * as scbch from "./scbch.mjs";\nimport { readFileSync, writeFileSync } from "node:fs";\n'
            'const given = JSON.parse(readFileSync("given.json", "utf8"));\n'
            f'const result = (() => {{ {body} }})();\nwriteFileSync("result.json", JSON.stringify(result));\n',
            encoding="utf-8",
        )
        done = subprocess.run([node, "main.mjs"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))

    return run


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", FORMS)
def test_every_code_point_gives_the_words_of_python(javascript, form, rule):
    texts = [form.format(chr(code)) for code in codes_of(form)]
    lines = javascript(
        'return given[0].map((text) => scbch.words(text, given[1]).join(" ")).join("\\n");', [texts, rule]
    )
    assert not different(form, rule, lines)


@pytest.mark.parametrize("rule", [*RULES, CHARACTERS])
@pytest.mark.slow
def test_thousands_of_texts_give_the_normal_forms_and_unknown_words_of_python(javascript, rule, tmp_path):
    texts = [
        *random_texts(4000, 6),
        "",
        "...",
        "ΣΊΣΥΦΟΣ, ΟΔΟΣ!",
        "(Mug) \u201cMUG\u201d mug\u2026",
        "." * 100_000 + "a" + "!" * 100_000,
        "\0" * 1000,
    ]
    vocabulary = sorted({word for text in texts[::9] for word in words(text, rule)})
    pipeline = TextPipeline(vocabulary, normalization=rule)
    pipeline.save(tmp_path / "text.json")
    stored = json.loads((tmp_path / "text.json").read_text())
    came = javascript(
        "const pipeline = new scbch.TextPipeline(given[0]);"
        "return [pipeline.normalize(given[1]), pipeline.unknown(given[1]), pipeline.known(given[1])];",
        [stored, texts],
    )
    assert came == [
        pipeline.normalize(texts).tolist(),
        pipeline.unknown(texts),
        pipeline.known(texts).tolist(),
    ]


def test_new_pipelines_have_the_current_rule_in_both(javascript):
    assert javascript("return [scbch.CURRENT, scbch.WITH_PUNCTUATION];") == [CURRENT, WITH_PUNCTUATION]
    assert javascript('return scbch.words("Mug, c#!");') == words("Mug, c#!") == ["mug", "c#"]


STORED = {"schema": 1, "normalization": CURRENT, "weighting": "presence", "vocabulary": ["a"], "idf": None}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('pipeline.normalize("a dog")', "texts must be an array of strings, got string"),
        ('pipeline.normalize(["a", 3])', "texts must be strings, got number at 1"),
        ("pipeline.normalize([,])", "texts must be strings, got undefined at 0"),
        ('pipeline.unknown(["a", "half \\ud800 pair"])', "valid Unicode, got a lone surrogate at 1"),
        ('pipeline.known(["\\udc00"])', "valid Unicode, got a lone surrogate at 0"),
        ('scbch.words("a", "nfc")', "normalization must be one of nfkc-casefold-14, .*, got nfc"),
        ("new scbch.TextPipeline({})", "stored must be the content of a text_pipeline.json"),
        ('new scbch.TextPipeline("{}")', "stored must be the content of a text_pipeline.json"),
        ("new scbch.TextPipeline({ ...given, normalization: 'nfd' })", "normalization must be one of"),
        (f'scbch.words("a", "{CURRENT}/characters:3-2")', "with /characters:LOW-HIGH behind it"),
        (f'scbch.words("a", "{CURRENT}/")', "with /characters:LOW-HIGH behind it"),
        (f'scbch.words("a", "{CURRENT}/characters:2-3/x")', "with /characters:LOW-HIGH behind it"),
    ],
)
def test_bad_input_is_refused(javascript, body, message):
    body = f"const pipeline = new scbch.TextPipeline(given); {body};"
    told = javascript(f"try {{ {body} }} catch (error) {{ return error.message; }} return null;", STORED)
    assert told is not None
    assert re.search(message, told)
