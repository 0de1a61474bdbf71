"""N-grams of characters, for languages without spaces: the same in Python, ONNX, TensorFlow, and JavaScript."""

import unicodedata

import numpy as np
import pytest

from scbch_keras.export import TextPipeline
from scbch_keras.preprocessing.normalization import CURRENT, check_rule, description, rule_of, words
from scbch_keras.training.features.text import TextFeatures
from scbch_keras.training.runs.recipe import resolve
from tests.preprocessing.test_text import random_texts

pytestmark = pytest.mark.numpy_only

SCRIPTS = {
    "Chinese": [
        "\u4e00\u53ea\u72d7\u5728\u6d77\u6ee9\u4e0a",
        "\u72d7\u3001\u6d77\u6ee9\u3002",
        "\u5728 \u6d77",
        "\u72d7",
    ],
    "Japanese": [
        "\u6d77\u8fba\u306e\u72ac",
        "\u30ab\u3099\u30e9\u30b9\u306e\u732b",
        "\uff76\uff9e\uff97\uff7d\u3001\u30ac\u30e9\u30b9",
    ],
    "Thai": [
        "\u0e2b\u0e21\u0e32\u0e1a\u0e19\u0e0a\u0e32\u0e22\u0e2b\u0e32\u0e14",
        "\u0e19\u0e49\u0e33 \u0e01\u0e33",
    ],
    "Hindi": ["\u0915\u0941\u0924\u094d\u0924\u093e \u0938\u092e\u0941\u0926\u094d\u0930"],
    "Korean": ["\ubc14\ub2f7\uac00\uc758 \uac1c", "\u1107\u1161\u1103\u1161"],
    "combining marks": ["e\u0301te\u0301 \u00e9t\u00e9", "a\u0323\u0307b\u0307\u0323", "\u0301\u0302\u0303"],
    "beyond the plane": ["\U0001f680\U0001f436\U0001f3fd\u200d\u2708", "\U00020bb7\U00020bb7\u91ce"],
    "Latin": ["A dog, on the Stra\u00dfe!", "c++ R&D don't", "a", "", " ... "],
}
TEXTS = [text for texts in SCRIPTS.values() for text in texts]


@pytest.fixture(scope="module", params=[("bow", "1-1"), ("tfidf", "2-3"), ("tfidf", "3-9")], ids="-".join)
def pipeline(request):
    kind, lengths = request.param
    features = TextFeatures(kind, normalization=rule_of(f"characters:{lengths}"))
    return features.fit([*TEXTS, *random_texts(60, 1)]).pipeline()


@pytest.mark.parametrize(
    ("tokens", "text", "expected"),
    [
        ("characters:2-3", "\u4e00\u53ea\u72d7", ["\u4e00\u53ea", "\u53ea\u72d7", "\u4e00\u53ea\u72d7"]),
        ("characters:2-3", "\u72d7", ["\u72d7"]),
        ("characters:2-2", "AB, c", ["ab", "c"]),
        ("characters:1-2", "\uff76\uff9e\u3002", ["\u30ac"]),
        ("characters:2-2", "e\u0301te\u0301", ["\u00e9t", "t\u00e9"]),
        ("characters:3-9", "don't", ["don", "on'", "n't", "don'", "on't", "don't"]),
        ("characters:2-3", "\u3002 ...", []),
        ("words", "AB, c", ["ab", "c"]),
    ],
)
def test_all_stretches_of_a_word_count_and_a_shorter_word_itself(tokens, text, expected):
    assert words(text, rule_of(tokens)) == expected


@pytest.mark.slow
def test_the_same_bits_everywhere_over_the_scripts(check_equal, pipeline):
    assert check_equal(TEXTS).any(axis=1).sum() >= len(TEXTS) - 2  # all but those without a word
    forms = [unicodedata.normalize(form, text).upper() for text in TEXTS for form in ("NFC", "NFD", "NFKD")]
    check_equal([*forms, "".join(TEXTS), *random_texts(300, 3)])
    assert pipeline.known(TEXTS).astype(bool).tolist() == pipeline(TEXTS).any(axis=1).tolist()


def test_every_ngram_of_any_text_can_be_of_a_vocabulary(tmp_path):
    rule = rule_of("characters:2-4")
    vocabulary = sorted({gram for text in random_texts(500, 5) for gram in words(text, rule)})
    pipeline = TextPipeline(vocabulary, normalization=rule)
    pipeline.save(tmp_path / "text.json")
    again = TextPipeline.load(tmp_path / "text.json")
    assert (again.vocabulary, again.normalization) == (pipeline.vocabulary, f"{CURRENT}/characters:2-4")
    assert description(rule)["tokens"].startswith("all stretches of 2 to 4 code points")


@pytest.mark.parametrize("word", ["abcd", "AB", "a b", "\u3002", "e\u0301"])
def test_what_no_text_gives_is_no_ngram(word):
    with pytest.raises(ValueError, match="vocabulary must hold words in normal form"):
        TextPipeline([word], normalization=rule_of("characters:2-3"))


@pytest.mark.parametrize(
    "tokens",
    ["", "character:2-3", "characters:3-2", "characters:0-2", "characters:2", "characters:2-10", 3, "Words"],
)
def test_other_tokens_are_refused(tokens):
    for refusing in (rule_of, lambda tokens: resolve(data="x", tokens=tokens)):
        with pytest.raises(ValueError, match='tokens must be "words" or "characters:LOW-HIGH"'):
            refusing(tokens)
    with pytest.raises(ValueError, match="normalization must be one of"):
        check_rule(f"{CURRENT}/{tokens}")


def test_texts_that_share_no_whole_word_are_alike():
    features = TextFeatures("bow", normalization=rule_of("characters:2-2")).fit(SCRIPTS["Chinese"])
    dog, sea = features(["\u6d77\u6ee9\u4e0a\u7684\u72d7", "\u6c99\u6f20"])
    assert np.dot(dog, features(["\u5728\u6d77\u6ee9"])[0]) == 1
    assert not sea.any()
