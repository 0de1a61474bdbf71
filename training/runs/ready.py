"""What training needs of a user's data besides being readable: `describe` and `train` both check it here."""

from importlib.util import find_spec

from scbch_keras.checks import check_neighbors
from scbch_keras.preprocessing.text_encoder import TextEncoder
from scbch_keras.training.data.own.arrays import ArrayPairs
from scbch_keras.training.data.own.pictures import RawPairs
from scbch_keras.training.data.own.read import OwnSplit, split_own
from scbch_keras.training.data.problems import Problem, Report
from scbch_keras.training.features.sentences import is_encoder
from scbch_keras.training.features.text import TextFeatures
from scbch_keras.training.runs.recipe import Recipe


def ready_split(data: RawPairs | ArrayPairs, recipe: Recipe, report: Report) -> OwnSplit:
    """The split that a recipe makes of the data; `report` is told whatever keeps the recipe from being trained.

    Raises ValueError if the data cannot be split so.
    """
    file = data.source.name
    split = split_own(data, recipe.queries, recipe.seed)
    if not data.labels[split.train].any():
        report(Problem("no labels in training", f"{file}: expected labels in the training set, got none"))
    try:
        check_neighbors(recipe.neighbors, len(split.train))
    except ValueError as error:
        hint = f"{len(split.train)} of {len(data)} rows are left to train on; more rows, or --set neighbors="
        report(Problem("too few rows", f"{file}: {error} {hint}{max(1, len(split.train) - 1)}"))
    judged = data.labels if data.clean_labels is None else data.clean_labels
    if not (judged[split.query].any(axis=0) & judged[split.database].any(axis=0)).any():
        message = (
            "expected a label that queries and database share, got none: nothing is relevant to any query"
        )
        report(Problem("nothing relevant", f"{file}: {message}"))
    if isinstance(data, ArrayPairs) and data.image.ndim > 2:
        message = f"the networks of `train` take rows of features (n, d), got {data.image.shape}"
        report(
            Problem("no rows of features", f"{file}: image: {message}; reshape them, or use the Python API")
        )
    if isinstance(data, RawPairs):
        _check_texts(file, [data.texts[row] for row in split.train], recipe, report)
    return split


def _check_texts(file: str, texts: list[str], recipe: Recipe, report: Report) -> None:
    try:
        if is_encoder(recipe.text_features):
            TextEncoder.open(recipe.text_features)
            return
    except (ValueError, ImportError, OSError) as error:
        report(Problem("no text encoder", f"{file}: {error}"))
        return
    features = TextFeatures(recipe.text_features, normalization=recipe.normalization)
    if features.kind == "doc2vec":
        if find_spec("gensim") is None:
            report(
                Problem("missing package", f"{file}: text_features=doc2vec needs gensim: pip install gensim")
            )
        # The same words, without the hours of training.
        features = TextFeatures("bow", normalization=recipe.normalization)
    try:
        features.fit(texts)
    except ValueError as error:
        hint = (
            f"of {len(texts)} rows to train on, {sum(not text.strip() for text in texts)} have an empty text"
        )
        report(Problem("no words", f"{file}: text: {error}; {hint}"))
