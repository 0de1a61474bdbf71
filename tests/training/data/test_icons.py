"""The embedded data set: counts, the split by icon, and what is said of its gaps."""

import numpy as np
import py_phosphor_icons as phosphor
import pytest

from scbch_keras.training.data.icons import pictures as icons_module
from scbch_keras.training.data.icons.pairs import icon_data
from scbch_keras.training.data.icons.pictures import WEIGHTS, bag_of_words, load_icons, rasterize, words_of

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow]


@pytest.fixture(scope="module")
def all_icons():
    return load_icons(seed=0)


@pytest.fixture(scope="module")
def few_icons():
    return load_icons(seed=3, queries=20, limit=100)


@pytest.mark.slow
def test_all_icons_are_there_but_the_one_without_a_category(all_icons):
    unlabelled = [entry.name for entry in phosphor.all_icons() if not entry.categories]
    assert list(all_icons.gaps.unlabelled) == unlabelled
    assert len(all_icons.names) == len(phosphor.all_icons()) - len(unlabelled) == 1511
    assert len(all_icons.categories) == 18
    assert len(all_icons.query) == 300
    assert len(all_icons.training.icon) == 6 * 1211
    assert len(all_icons.database.icon) == 1211
    assert len(all_icons.queries.icon) == 300


def test_pictures_are_ink_and_every_row_has_a_label(all_icons):
    image = all_icons.training.image
    assert image.dtype == np.float32
    assert image.shape[1] == 32 * 32
    assert image.min() == 0
    assert image.max() == 1
    assert image.any(axis=1).all()
    assert all_icons.labels.any(axis=1).all()
    assert 0.02 < image.mean() < 0.5, "ink is 1 and paper 0, not the other way round"


def test_labels_and_texts_are_those_of_the_package(all_icons):
    row = all_icons.names.index("acorn")
    entry = phosphor.get_icon("acorn")
    labels = {name for name, label in zip(all_icons.categories, all_icons.labels[row], strict=True) if label}
    assert labels == set(entry.categories)
    words = {word for word, there in zip(all_icons.vocabulary, all_icons.text[row], strict=True) if there}
    assert words == words_of("acorn", *entry.tags) & set(all_icons.vocabulary)
    assert "food" in words


def test_no_icon_is_on_both_sides_of_the_split(all_icons):
    assert not set(all_icons.query) & set(all_icons.train)
    assert sorted([*all_icons.query, *all_icons.train]) == list(range(len(all_icons.names)))
    assert not set(all_icons.training.icon) & set(all_icons.queries.icon)
    held_out = {picture.tobytes() for picture in all_icons.pairs(all_icons.query).image}
    assert not held_out & {picture.tobytes() for picture in all_icons.training.image}


def test_the_vocabulary_comes_from_training_icons_alone(few_icons):
    def words(rows):
        entries = [phosphor.get_icon(few_icons.names[row]) for row in rows]
        return {word for entry in entries for word in words_of(entry.name, *entry.tags)}

    assert few_icons.vocabulary == tuple(sorted(words(few_icons.train)))
    assert words(few_icons.query) - words(few_icons.train), "some words of the queries stay unknown"
    assert few_icons.text[few_icons.train].any(axis=1).all()
    wordless = few_icons.query[~few_icons.text[few_icons.query].any(axis=1)]
    assert few_icons.gaps.wordless == tuple(few_icons.names[row] for row in wordless)


def test_the_same_seed_gives_the_same_set_and_another_seed_another(few_icons):
    again = load_icons(seed=3, queries=20, limit=100)
    assert again.names == few_icons.names
    assert again.vocabulary == few_icons.vocabulary
    for name in ("pictures", "text", "labels", "query", "train"):
        np.testing.assert_array_equal(getattr(again, name), getattr(few_icons, name))
    other = load_icons(seed=4, queries=20, limit=100)
    assert other.names != few_icons.names


def test_the_pictures_of_an_icon_stand_side_by_side_with_its_text_and_labels(few_icons):
    pairs = few_icons.training
    np.testing.assert_array_equal(pairs.icon, np.repeat(few_icons.train, len(WEIGHTS)))
    np.testing.assert_array_equal(pairs.labels, few_icons.labels[pairs.icon])
    np.testing.assert_array_equal(pairs.text, few_icons.text[pairs.icon])
    bold = few_icons.pairs(few_icons.train, ("bold",))
    assert bold.image.mean() > few_icons.pairs(few_icons.train, ("thin",)).image.mean()
    with pytest.raises(ValueError, match=r"weights: .* 'heavy'"):
        few_icons.pairs(few_icons.train, ("heavy",))


def test_all_pictures_of_an_icon_have_its_wrong_labels_in_both_sets():
    everything, regular = (icon_data(0.5, 3, 60, regular_only) for regular_only in (False, True))
    assert (everything.name, regular.name) == ("icons", "icons-regular")
    assert len(regular.train) == 48
    assert (everything.train.labels != everything.train.clean_labels).any(axis=1).mean() == pytest.approx(
        0.5, abs=0.05
    )
    _, first, icon = np.unique(everything.train.groups, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(everything.train.labels, everything.train.labels[first][icon])
    np.testing.assert_array_equal(everything.train.labels[first], regular.train.labels)
    np.testing.assert_array_equal(regular.train.image, regular.database.image)


def test_missing_and_broken_pictures_are_counted_and_left_out(monkeypatch):
    whole = load_icons(seed=3, queries=5, limit=40)
    missing, broken, gone = whole.names[0], whole.names[1], whole.names[2]
    exists, get_svg = phosphor.exists, phosphor.get_svg

    def exists_but(name, weight):
        return exists(name, weight) and (name, weight) not in {(missing, "bold"), (gone, "regular")}

    def get_svg_but(name, weight):
        return "<svg" if (name, weight) == (broken, "thin") else get_svg(name, weight)

    monkeypatch.setattr(icons_module.phosphor, "exists", exists_but)
    monkeypatch.setattr(icons_module.phosphor, "get_svg", get_svg_but)
    holed = load_icons(seed=3, queries=5, limit=40)
    assert holed.gaps.missing == ((missing, "bold"), (gone, "regular"))
    assert holed.gaps.broken == ((broken, "thin"),)
    assert holed.gaps.undrawable == (gone,)
    assert gone not in holed.names
    assert len(holed.pairs(np.arange(39)).icon) == 39 * 6 - 2
    assert not np.isnan(holed.pairs(np.arange(39)).image).any()


def test_an_empty_drawing_is_no_picture():
    empty = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"></svg>'
    assert not rasterize(empty, 32).any()
    assert rasterize("no drawing", 32) is None
    assert rasterize(empty.replace("0 0 8 8", "0 0 8 4"), 32) is None, "not square: not stretched either"


def test_words():
    assert words_of("arrow-left", "C++", "Saint John's Arms", "ﬁle") == {
        *("arrow", "left", "c", "saint", "john", "s", "arms", "file")
    }
    bag = bag_of_words([{"a", "c"}, {"z"}], ("a", "b", "c"))
    np.testing.assert_array_equal(bag, [[1, 0, 1], [0, 0, 0]])
    assert bag.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queries": 0}, "queries: expected at least 1, got 0"),
        ({"queries": 50, "limit": 50}, "queries: expected fewer than the 50 usable icons, got 50"),
        ({"limit": 0}, "limit: expected 1 to 1511 icons, got 0"),
        ({"limit": 2000}, "limit: expected 1 to 1511 icons, got 2000"),
        ({"size": 0}, "size: expected at least 1, got 0"),
    ],
)
def test_counts_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_icons(**arguments)
