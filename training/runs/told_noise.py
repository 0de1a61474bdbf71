"""How the labels of a user's data went wrong, in words, before anything is trained."""

from scbch_keras.labels.posterior import estimate
from scbch_keras.training.data.own.arrays import ArrayPairs
from scbch_keras.training.data.own.read import read_own, retrieval_data, split_own
from scbch_keras.training.runs.recipe import Recipe


def told_noise(recipe: Recipe) -> str:
    """The estimate by the count model from the rows that a recipe trains on, as a sentence.

    Raises:
        ValueError: the data cannot be read, or has no rows of features yet.
    """
    data = read_own(recipe.data, recipe.separator)
    if not isinstance(data, ArrayPairs) or data.image.ndim > 2:
        raise ValueError(
            f"noise: {recipe.data}: expected rows of features, from which label noise is estimated; for pictures and "
            "texts `scbch features` writes a file of them"
        )
    train = retrieval_data(data, split_own(data, recipe.queries, recipe.seed), data.source.name).train
    found = estimate(train.image, train.text, train.labels, groups=train.groups)
    return f"Estimated from the {len(train):,} rows to train on: {found.in_words(data.label_names)}"
