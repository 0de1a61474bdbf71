"""The paper's figures: both formats, the words on them, everything inside the frame."""

import re
import struct
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from scbch_keras.training.pages.paper_figures import confidence_histograms, precision_recall, similarity_maps

pytestmark = pytest.mark.numpy_only

_RECALL = np.linspace(0.01, 1, 15)


def curve(top=0.9):
    return {"i2t": (_RECALL, top - 0.3 * _RECALL), "t2i": (list(_RECALL), list(top - 0.4 * _RECALL))}


def codes(seed, samples=16):
    rng = np.random.default_rng(seed)
    return tuple(np.tanh(rng.standard_normal((samples, 32))).astype("float32") for _ in range(2))


def labels(samples=16):
    return (np.random.default_rng(0).random((samples, 24)) < 0.2).astype("uint8")


def check_png(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    place = content.index(b"pHYs") + 4
    assert struct.unpack(">I", content[place : place + 4]) == (7874,)  # a metre, which are 200 dpi
    return width, height


def texts(path):
    """The words of an SVG; each has to begin inside the drawing."""
    root = ElementTree.parse(path).getroot()
    _, _, width, height = map(float, root.get("viewBox").split())
    found = []
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        place = re.search(r"(?:rotate\([-\d.]+|translate\(()) ?([-\d.]+) ([-\d.]+)\)", text.get("transform"))
        assert 0 <= float(place[2]) < width
        assert 0 <= float(place[3]) <= height
        found.append("".join(text.itertext()))
    return found


def test_precision_recall_has_a_panel_a_direction_and_names_every_line(tmp_path):
    names = [
        "full",
        *(f"SCBCH-{number} (without one of its parts)" for number in range(1, 9)),
        "costs $5 and $6",
    ]
    curves = {name: curve(0.9 - 0.03 * place) for place, name in enumerate(names)}
    png, svg = precision_recall(curves, tmp_path / "noise0.8", "MIRFlickr-25K, 64 bits, noise 0.8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise0.8.png", "noise0.8.svg"]
    assert (png.name, svg.name) == ("noise0.8.png", "noise0.8.svg")
    assert check_png(png)[0] == 1840
    words = texts(svg)
    expected = {
        "MIRFlickr-25K, 64 bits, noise 0.8",
        "Image queries text (I2T)",
        "Text queries image (T2I)",
        *names,
    }
    assert expected <= set(words)
    assert words.count("recall") == 2
    assert words.count("precision") == 1


def test_a_point_without_precision_is_left_out_and_the_same_curves_give_the_same_file(tmp_path):
    with_gap, without = curve(), curve()
    precision = without["i2t"][1].copy()
    precision[0] = np.nan
    with_gap["i2t"] = (_RECALL, precision)
    without["i2t"] = (_RECALL[1:], precision[1:])
    drawn = [
        precision_recall({"full": one}, tmp_path / "pr", "")[1].read_text() for one in (with_gap, without)
    ]
    assert drawn[0] == drawn[1]


def test_similarity_maps_have_three_panels_and_two_bars(tmp_path):
    png, svg = similarity_maps(labels(), codes(1), codes(2), tmp_path / "maps")
    assert check_png(png) == (2300, 980)
    words = texts(svg)
    bars = {"label similarity (Jaccard)", "similarity of image and text codes (cosine)"}
    assert bars | {"Shared labels", "After the first epoch", "After the last epoch", "16"} <= set(words)
    assert (words.count("image"), words.count("text"), words.count("sample")) == (2, 2, 2)
    # three maps and the colours of two bars
    assert svg.read_text().count("<image ") == 5


def test_similarities_by_hand():
    from scbch_keras.training.pages.paper_figures import _cosine, _jaccard

    shared = _jaccard(np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]], np.uint8))
    np.testing.assert_allclose(shared, [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]])
    image, text = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[0.0, 2.0], [-5.0, 0.0]])
    np.testing.assert_allclose(_cosine("first", (image, text), 2), [[0.8, -0.6], [0, -1]])


def test_histograms_have_both_kinds_and_show_the_highest_bar_of_either_panel(tmp_path):
    corrupted = np.arange(100) < 40
    early = np.linspace(0.5, 1, 100, dtype="float32") + np.float32(1e-7)
    last = np.where(corrupted, 0.6, 0.95)
    png, svg = confidence_histograms(early, last, corrupted, tmp_path / "weights", ("epoch 6", "epoch 50"))
    assert check_png(png)[0] == 1840
    words = texts(svg)
    expected = {"epoch 6", "epoch 50", "clean labels (60 samples)", "corrupted labels (40 samples)"}
    assert expected | {"confidence weight", "share of the samples of a kind", "100%", "0.5", "1.0"} <= set(
        words
    )
    assert "0.0" not in words
    words = texts(
        confidence_histograms(early * 0.9, last, ~corrupted & False, tmp_path / "low", ("a", "b"))[1]
    )
    assert {"clean labels (100 samples)", "0.0"} <= set(words)
    assert not [word for word in words if "corrupted" in word]


_WEIGHTS = np.linspace(0.5, 1, 6)
_BAD = {
    "no curves": (precision_recall, ({},), "curves must map at least one name"),
    "one direction": (
        precision_recall,
        ({"a": {"i2t": curve()["i2t"]}},),
        "expected .i2t. and .t2i. for 'a'",
    ),
    "not a pair": (precision_recall, ({"a": {**curve(), "t2i": [1]}},), r"\(recall, precision\) for a, t2i"),
    "lengths": (
        precision_recall,
        ({"a": {**curve(), "t2i": ([0, 1], [1])}},),
        r"a, t2i, got \(2,\) and \(1,\)",
    ),
    "percent": (precision_recall, ({"a": curve(70)},), r"precision of a, i2t in \[0, 1\]"),
    "one label row": (similarity_maps, (labels(1), codes(0, 1), codes(0, 1)), "labels must have shape"),
    "counts": (similarity_maps, (labels() * 2, codes(0), codes(0)), "labels must hold only 0 and 1"),
    "rows": (similarity_maps, (labels(), codes(0, 8), codes(0)), r"first: .* \(16, bits\), got float32 \(8,"),
    "packed": (
        similarity_maps,
        (labels(), codes(0), (labels(), labels())),
        "last: expected image codes of floats",
    ),
    "one side": (
        similarity_maps,
        (labels(), codes(0)[0], codes(0)),
        r"first must be \(image codes, text codes\)",
    ),
    "zero": (
        similarity_maps,
        (labels(), codes(0), tuple(0 * side for side in codes(0))),
        "last: expected finite",
    ),
    "kinds": (confidence_histograms, (_WEIGHTS, _WEIGHTS, np.arange(6)), "corrupted must be a bool array"),
    "size": (
        confidence_histograms,
        (_WEIGHTS, _WEIGHTS[1:], _WEIGHTS > 0.7),
        "last must have a weight for each of 6",
    ),
    "NaN": (confidence_histograms, (_WEIGHTS * np.nan, _WEIGHTS, _WEIGHTS > 0.7), "early must hold weights"),
}


@pytest.mark.parametrize("case", _BAD)
def test_bad_input_is_refused_and_nothing_is_written(tmp_path, case):
    function, arguments, message = _BAD[case]
    rest = {"title": ""} if function is precision_recall else {}
    rest |= {"titles": ("a", "b")} if function is confidence_histograms else {}
    with pytest.raises(ValueError, match=message):
        function(*arguments, path_stem=tmp_path / "figure", **rest)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_and_a_missing_title_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"path_stem must be a file name in an existing folder, got .*no/figure"
    ):
        precision_recall({"a": curve()}, tmp_path / "no" / "figure", "")
    with pytest.raises(ValueError, match="titles must be two, got 'ab'"):
        confidence_histograms(_WEIGHTS, _WEIGHTS, _WEIGHTS > 0.7, tmp_path / "figure", "ab")
