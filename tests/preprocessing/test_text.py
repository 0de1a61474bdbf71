"""TextPipeline: one definition of words and their counts, and the same bits in Python, ONNX and TensorFlow."""

import functools
import hashlib
import json
import random
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scbch_keras.export import TextPipeline
from scbch_keras.preprocessing.normalization import (
    CURRENT,
    KEPT_AT_ENDS,
    NORMALIZATIONS,
    PUNCTUATION,
    SEPARATORS,
    UNASSIGNED,
    WITH_PUNCTUATION,
    words,
)
from scbch_keras.preprocessing.text import checked

pytestmark = pytest.mark.numpy_only

RULES = tuple(NORMALIZATIONS)
WEIGHTINGS = ("presence", "counts", "tfidf")
FORMS = ("{}", "a\u0345{}\u0334\u0301", "{0}a{0}\u0301 .{0}")
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


@functools.cache
def codes_of(form):
    """Alone every code point; beside others those assigned in Unicode 14, and of the rest the edges and one in 97."""
    if form == "{}":
        return CODES
    rest = [*UNASSIGNED, (0xE000, 0xF8FF), (0xF0000, 0xFFFFF), (0x100000, 0x10FFFF)]
    left_out = {code for first, last in rest for code in range(first + 1, last) if code % 97}
    return [code for code in CODES if code not in left_out]


@functools.cache
def words_of_code_points(form, rule):
    """A line for each of `codes_of`: the words of `form` with it in its place, joined by a space."""
    return "\n".join(" ".join(words(form.format(chr(code)), rule)) for code in codes_of(form))


def different(form, rule, lines):
    """The texts of which another implementation gives other words, (text, Python's, the other's)."""
    expected = words_of_code_points(form, rule)
    if lines == expected:
        return []
    texts = (ascii(form.format(chr(code))) for code in codes_of(form))
    each = zip(texts, expected.split("\n"), lines.split("\n"), strict=True)
    return [(text, words, other) for text, words, other in each if words != other]


def members(ranges):
    return {code for first, last in ranges for code in range(first, last + 1)}


def characters(*categories):
    """The code points of these categories, of all planes."""
    return [chr(code) for code in CODES if unicodedata.category(chr(code)) in categories]


# Where normalisations differ: marks, what NFKC and case folding change, Hangul, ignorable and unassigned ones.
INTERESTING = (
    "".join(characters("Mn", "Mc", "Me", "Cf", "Cc", "Zs", "Zl", "Zp"))
    + "".join(c for c in map(chr, CODES) if unicodedata.normalize("NFKC", c).casefold() != c)[:9000:3]
    + "각가힣\u1160\u3164Σςσβßİıſǰΐΰ👩🚀🏽❤\ufe0f"  # noqa: RUF001
    + "\u0378\ufdd0\uffff\U0001fae8\U0001ccd6\U0001e030\U0001e08f\U00010efd\U000e0fff\U0010ffff"
)
ANY = st.one_of(
    st.sampled_from(INTERESTING),
    st.sampled_from("ab é"),
    *(
        st.integers(plane << 16, (plane << 16) + 0xFFFF)
        .filter(lambda code: not 0xD800 <= code < 0xE000)
        .map(chr)
        for plane in range(17)
    ),
)
TEXTS = st.lists(st.text(ANY, max_size=24), min_size=1, max_size=40)


def random_texts(rows, seed):
    """Texts that repeat their pieces, so that words are found again: of interesting characters, marks on letters."""
    rng = random.Random(0)
    pieces = ["".join(rng.choices(INTERESTING, k=rng.randint(1, 3))) for _ in range(1000)]
    pieces += [chr(code) + mark for code in range(0x41, 0x250, 5) for mark in ("", "\u0301", "\u0323\u0307")]
    rng = random.Random(seed)
    between = [" ", ", ", "! (", "\u3001\u00bf", "\t", "\0", "\u00a0", "\u2028 ", "\u3000", "\x1c", "\u1680"]
    return [
        "".join(piece + rng.choice(between) for piece in rng.choices(pieces, k=rng.randint(0, 29)))
        for _ in range(rows)
    ]


@pytest.fixture(
    scope="module",
    params=[
        *((weighting, CURRENT) for weighting in WEIGHTINGS),
        ("tfidf", WITH_PUNCTUATION),
    ],
    ids="-".join,
)
def pipeline(request):
    weighting, rule = request.param
    vocabulary = sorted({word for text in random_texts(400, 1) for word in words(text, rule)})
    assert len(vocabulary) > 800
    idf = np.random.default_rng(2).uniform(1, 12, len(vocabulary)) if weighting == "tfidf" else None
    return TextPipeline(vocabulary, weighting, idf, rule)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Die Straße", ["die", "strasse"]),
        ("ﬁne Ⅳ ｆｕｌｌ", ["fine", "iv", "full"]),  # noqa: RUF001
        ("cafe\u0301 café", ["café", "café"]),
        ("a\u3000b\u00a0c\u2028d\te\u0085f\x1cg", list("abcdefg")),
        ("zero\u200bwidth soft\u00adware ❤\ufe0f", ["zerowidth", "software", "❤"]),
        ("Don't, stop-motion! #x", ["don't", "stop-motion", "#x"]),
        ("mug mug, mug! (Mug) «mug» “mug”… _mug_ ¿mug? mug。 －mug－", ["mug"] * 10),  # noqa: RUF001
        (
            "c c++ c# #1 1 $5 50% @home R&D \uff031 ©",
            ["c", "c++", "c#", "#1", "1", "$5", "50%", "@home", "r&d", "#1", "©"],
        ),
        ("a - b -- ... — & !?", ["a", "b", "&"]),
        ("mug,\u0301 mug,\u00ad \u200bmug,\ufe0f", ["mug,\u0301", "mug", "mug"]),
        ("mug,\U0001fae8 \U0001fae8,", ["mug,\U0001fae8", "\U0001fae8"]),
        ("mug,cup mother-in-law o'clock", ["mug,cup", "mother-in-law", "o'clock"]),
        ("ΣΊΣΥΦΟΣ σίσυφος", ["σίσυφοσ"] * 2),
        ("ǰ J\u030c", ["ǰ", "ǰ"]),
        ("a\x00b\x7fc\x9fd", list("abcd")),
        ("\U0001e030\u0301 e\u0301\u0378\u0301", ["\U0001e030\u0301", "é\u0378\u0301"]),
        (" \n", []),
        ("", []),
    ],
)
def test_words_are_normalised_folded_parted_by_space_and_controls_and_trimmed(text, expected):
    assert words(text) == expected


def test_the_former_rule_leaves_punctuation_with_its_word():
    text = "Mug mug, (MUG!) - \u3000… c#"
    assert words(text, WITH_PUNCTUATION) == ["mug", "mug,", "(mug!)", "-", "...", "c#"]
    assert words(text, CURRENT) == words(text) == ["mug", "mug", "mug", "c#"]


def test_punctuation_is_that_of_unicode_14():
    listed = set(PUNCTUATION) | set(KEPT_AT_ENDS)
    assert len(listed) == len(PUNCTUATION) + len(KEPT_AT_ENDS)
    assert not listed & set(map(chr, members(UNASSIGNED)))
    if unicodedata.unidata_version == "14.0.0":
        assert listed == set(characters("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"))


def test_separators_are_what_python_calls_space_and_controls():
    spaces = {code for code in CODES if chr(code).isspace() or unicodedata.category(chr(code)) == "Cc"}
    assert members(SEPARATORS) == spaces


def test_what_this_python_does_not_assign_is_kept_as_it_is():
    unknown = {code for code in CODES if unicodedata.category(chr(code)) == "Cn"}
    kept = members(UNASSIGNED)
    assert kept >= unknown
    if unicodedata.unidata_version == "14.0.0":
        assert kept == unknown
    assert all(words(chr(code)) == [chr(code)] for code in kept)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "forms", "expected"),
    [
        (WITH_PUNCTUATION, FORMS[:2], "a9518e2ca14988a764e01dfe89a64fc68244f0f7dc1881f7fa83d6354173ccf7"),
        (CURRENT, FORMS, "3cbbadf0113b2347c44862a183728c83ca90e5bef85235edb33402055046b511"),
    ],
)
def test_words_are_the_same_in_every_version_of_python(rule, forms, expected):
    digest = hashlib.sha256()
    for form in forms:
        digest.update(words_of_code_points(form, rule).encode())
    assert digest.hexdigest() == expected


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None)
@given(texts=TEXTS)
def test_a_normalised_text_is_its_own_normal_form(rule, texts):
    pipeline = TextPipeline(["a"], normalization=rule)
    normal = pipeline.normalize(texts)
    assert normal.dtype == object
    assert [text.split(" ") if text else [] for text in normal] == [words(text, rule) for text in texts]
    assert normal.tolist() == pipeline.normalize(normal).tolist()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ab c,Ä\u0301", max_size=30), max_size=4))
def test_counts_of_words_make_the_features_of_the_texts(weighting, texts):
    idf = [0.3, 1.7] if weighting == "tfidf" else None
    pipeline = TextPipeline(["a", "b"], weighting, idf)
    counts, unknown = zip(*map(pipeline.counted, texts), strict=True) if texts else ((), ())
    np.testing.assert_array_equal(pipeline.weighted(iter(counts), len(counts)), pipeline(texts))
    assert list(map(len, counts)) == pipeline.known(texts).tolist()
    assert list(unknown) == pipeline.unknown(texts)


def test_unknown_words_are_named_once_each_and_known_ones_counted():
    pipeline = TextPipeline(["mug", "red", "c#"])
    texts = ["A red mug, MUG, zebra Zebra! c#", "zebra", "", "...", "Mug"]
    assert pipeline.unknown(texts) == [["a", "zebra"], ["zebra"], [], [], []]
    assert pipeline.known(texts).tolist() == [3, 0, 0, 0, 1]
    assert (pipeline.unknown([]), pipeline.known([]).tolist()) == ([], [])
    assert TextPipeline(["mug,"], normalization=WITH_PUNCTUATION).unknown(["mug mug,"]) == [["mug"]]


def test_a_pipeline_stored_by_the_former_rule_is_read_by_it(tmp_path):
    stored = {
        "schema": 1,
        "normalization": "nfkc-casefold-14",
        "weighting": "presence",
        "vocabulary": ["mug,", "mug", "!"],
        "idf": None,
    }
    (tmp_path / "text.json").write_text(json.dumps(stored))
    pipeline = TextPipeline.load(tmp_path / "text.json")
    assert pipeline.normalization == WITH_PUNCTUATION
    np.testing.assert_array_equal(pipeline(["Mug, !", "mug"]), [[1, 0, 1], [0, 1, 0]])
    pipeline.save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == stored


def test_counts_against_hand_counts():
    texts = ["Sun sun\u3000SKY", "moon", "", "sky"]
    for weighting, first in (("presence", [1, 1, 0]), ("counts", [2, 1, 0])):
        features = TextPipeline(["sun", "sky", "sea"], weighting)(texts)
        np.testing.assert_array_equal(features, np.float32([first, [0] * 3, [0] * 3, [0, 1, 0]]), strict=True)
    features = TextPipeline(["sun", "sky"], "tfidf", [2, 3])(texts)
    np.testing.assert_array_equal(features, np.float32([[0.8, 0.6], [0, 0], [0, 0], [0, 1]]), strict=True)
    assert TextPipeline(["sun"])([]).shape == (0, 1)
    assert TextPipeline(["sun"]).normalize([]).shape == (0,)


def test_a_saved_pipeline_is_the_same_again(pipeline, tmp_path):
    pipeline.save(tmp_path / "text.json")
    again = TextPipeline.load(tmp_path / "text.json")
    assert (again.vocabulary, again.weighting) == (pipeline.vocabulary, pipeline.weighting)
    texts = random_texts(50, 3)
    np.testing.assert_array_equal(again(texts), pipeline(texts), strict=True)
    stored = json.loads((tmp_path / "text.json").read_text())
    for change in (
        {"schema": 2},
        {"normalization": "nfc"},
        {"normalization": ["nfkc-casefold-14"]},
        {"vocabulary": ["A"]},
        {"vocabulary": 3},
        {"weighting": "bm25"},
        {"idf": ["x"]},
    ):
        (tmp_path / "text.json").write_text(json.dumps(stored | change))
        with pytest.raises(ValueError, match=r"text\.json: expected a file of TextPipeline\.save"):
            TextPipeline.load(tmp_path / "text.json")
    for content in ("", "[]", "{}", "nonsense"):
        (tmp_path / "text.json").write_text(content)
        with pytest.raises(ValueError, match=r"text\.json: expected a file of TextPipeline\.save"):
            TextPipeline.load(tmp_path / "text.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "vocabulary must have a word"),
        (("word",), "texts must be a list of strings, got str"),
        ((["a", 3],), "texts must be strings, got int at 1"),
        ((["a", "B"],), r"normal form, got 'B' at 1, which texts give as \['b'\]"),
        ((["a b"],), r"got 'a b' at 0, which texts give as \['a', 'b'\]"),
        (([""],), "normal form, got ''"),
        ((["a", "b", "a"],), "each word once, got 'a' at"),
        ((["mug,"],), r"got 'mug,' at 0, which texts give as \['mug'\]"),
        ((["-"],), r"got '-' at 0, which texts give as \[\]"),
        ((["a"], "presence", None, "nfc"), "normalization must be one of nfkc-casefold-14, .*got 'nfc'"),
        ((["a"], "presence", None, 3), "normalization must be one of .*got 3"),
        ((["a"], "bm25"), "weighting must be one of .* got 'bm25'"),
        ((["a"], "tfidf"), "idf is for \"tfidf\" and needed there, got None for 'tfidf'"),
        ((["a"], "counts", [1]), 'idf is for "tfidf"'),
        ((["a"], "tfidf", [1, 2]), r"one for each of the 1 words, got shape \(2,\)"),
        ((["a"], "tfidf", [-1]), "idf must be numbers from 0 to 1024"),
        ((["a"], "tfidf", [np.nan]), "idf must be numbers from 0 to 1024"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TextPipeline(*arguments)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a dog", "texts must be a list of strings, got str"),
        (b"a dog", "texts must be a list of strings, got bytes"),
        (3, "texts must be a list of strings, got int"),
        (["a", b"dog"], "texts must be strings, got bytes at 1"),
        (np.array([["a"]]), r"texts must be a list of strings, got an array of shape \(1, 1\)"),
        (["a", "b", "half \udc00 pair"], r"valid Unicode, got the lone surrogate U\+DC00 at 2"),
    ],
)
def test_what_is_no_list_of_valid_strings_is_refused(texts, message):
    pipeline = TextPipeline(["a"])
    for act in (checked, pipeline, pipeline.normalize, pipeline.unknown, pipeline.known):
        with pytest.raises(ValueError, match=message):
            act(texts)


# the graphs


def test_an_encoder_that_reads_its_input_in_a_branch_gets_the_features(tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from scbch_keras.export.graphs.text_onnx import write_raw_text_onnx

    helper, kind = onnx.helper, onnx.TensorProto
    output = helper.make_tensor_value_info("codes", kind.FLOAT, ["batch", 2])
    one_way, other_way = (
        helper.make_graph([helper.make_node(name, ["text"], [name])], name, [], [
            helper.make_tensor_value_info(name, kind.FLOAT, None)
        ])
        for name in ("Neg", "Abs")
    )  # fmt: skip
    nodes = [
        helper.make_node("ReduceMax", ["text"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["any"], to=kind.BOOL),
        helper.make_node("If", ["any"], ["codes"], then_branch=one_way, else_branch=other_way),
    ]
    features = helper.make_tensor_value_info("text", kind.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "encoder", [features], [output])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "text.onnx")
    pipeline = TextPipeline(["dog", "sea"], "counts")
    write_raw_text_onnx(pipeline, tmp_path / "text.onnx", tmp_path / "raw.onnx")
    session = runtime.InferenceSession(tmp_path / "raw.onnx", providers=["CPUExecutionProvider"])
    codes = session.run(None, {"text": pipeline.normalize(["Sea dog dog", ""])})[0]
    np.testing.assert_array_equal(codes, [[-2, -1], [0, 0]])


@pytest.mark.slow
def test_thousands_of_texts_give_the_same_bits_everywhere(check_equal):
    expected = check_equal(random_texts(3000, 4) + random_texts(400, 1))
    assert (expected != 0).sum() > 5000
    assert (expected == 0).all(axis=1).any()


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(texts=TEXTS)
def test_texts_of_any_characters_give_the_same_bits_everywhere(check_equal, texts):
    check_equal(texts)


@pytest.mark.slow
def test_extremes_give_the_same_bits_everywhere(pipeline, by_tensorflow, check_equal):
    known = list(pipeline.vocabulary)
    for texts in (
        [""],
        ["", " ", "\t\n\0\x1f\u3000\u2029"],
        ["\0", "a\0", "\0a", known[0] + "\0" + known[1]],
        ["a" * 1_000_000, "\u0301" * 5_000, "e" + "\u0323\u0301" * 2_000],
        [" ".join(known * 40), f"{known[3]} " * 100_000],
        ["." * 1_000_000, "a" + "!" * 1_000_000 + "a", "?", "? !", f"({known[5]}), \u00bf{known[6]}?"],
        ["\ufeff" + known[-1], "\ufffe \uffff \U0010ffff", "\x85\xa0".join(known[:5])],
    ):
        check_equal(texts)
    assert by_tensorflow([]).shape == (0, pipeline.dimensions)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", FORMS)
def test_tensorflow_parts_folds_and_trims_every_code_point_as_python_does(form, rule):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from scbch_keras.export.graphs import text_tensorflow

    signature = [tf.TensorSpec([None], tf.string)]
    split = tf.function(
        lambda text: text_tensorflow.words(text, rule), input_signature=signature, autograph=False
    )
    texts = tf.constant([form.format(chr(code)).encode() for code in codes_of(form)])
    lines = tf.strings.reduce_join(split(texts), -1, separator=" ")
    assert not different(form, rule, tf.strings.reduce_join(lines, separator="\n").numpy().decode())


@pytest.mark.slow
def test_what_is_no_utf8_is_an_error_of_the_graph(by_tensorflow):
    tf = sys.modules["tensorflow"]
    from scbch_keras.export.graphs import text_tensorflow

    for wrong in (b"\xff", b"a\xed\xa0\x80", b"\xc0\x80", b"a\xe2\x82", b"\xf4\x90\x80\x80"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            text_tensorflow.words(tf.constant([b"fine", wrong]))
