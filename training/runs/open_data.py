"""A recipe's data, wherever it comes from; own pictures and texts become features on the way."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import nearest
from scbch_keras.files import stored_json
from scbch_keras.labels.noise import mixed_symmetric
from scbch_keras.methods import VARIANTS
from scbch_keras.preprocessing.text_encoder import TextEncoder
from scbch_keras.stored import write_json
from scbch_keras.training.data.benchmarks.sets import load_benchmark
from scbch_keras.training.data.own.arrays import ArrayPairs
from scbch_keras.training.data.own.checked import Checked, read_checked
from scbch_keras.training.data.own.fixed_data import correction_notes
from scbch_keras.training.data.own.pictures import RawPairs
from scbch_keras.training.data.own.read import OwnSplit, read_own, retrieval_data, split_own
from scbch_keras.training.data.own.vocabulary import load_vocabulary, save_vocabulary
from scbch_keras.training.data.pairs import RetrievalData
from scbch_keras.training.data.problems import refuse
from scbch_keras.training.features import sentences
from scbch_keras.training.features.cache import extract
from scbch_keras.training.features.images import ImageFeatures, from_config, image_backbone
from scbch_keras.training.features.made_by import recorded
from scbch_keras.training.runs.folder import POSTERIOR
from scbch_keras.training.runs.named import SETTINGS
from scbch_keras.training.runs.ready import ready_split
from scbch_keras.training.runs.recipe import Recipe

LABELS, IMAGE = "labels.json", "image-features.json"


def open_data(recipe: Recipe, run: Path, features: Path | None = None) -> RetrievalData:
    """The pairs that a recipe names, with its noise in the training labels; its checked rows are looked at.

    Args:
        recipe: of the run.
        run: folder of the run. There, own data keeps its label vocabulary, and pictures and texts what makes
            features of them; what is there already is used, so that a resumed run has the same features.
        features: folder of the features of pictures, which runs on the same pictures may share; None: the run's.

    Raises:
        ValueError: files that are missing or damaged; the message says what belongs where.
    """
    data = _open(recipe, run, features)
    # A run that has its posterior reads the file no more.
    if recipe.checked is None or (run / POSTERIOR).is_file():
        return data
    if VARIANTS[recipe.variant].settings.get("labels") != "posterior":
        raise ValueError(
            f"checked: checked rows are for the variants on posterior labels; got variant={recipe.variant}. For others "
            "correct the labels in the data"
        )
    return replace(data, notes={**data.notes, "checked by hand": checked_rows(recipe, data).origin})


def checked_rows(recipe: Recipe, data: RetrievalData) -> Checked:
    """The rows of the training set whose labels a recipe's file gives. ValueError for other rows or labels."""
    return read_checked(Path(str(recipe.checked)), data.train.ids, data.label_names, recipe.separator)


def _open(recipe: Recipe, run: Path, features: Path | None) -> RetrievalData:
    # Imported where they are needed: the icons' packages are not part of what own data needs.
    if recipe.data == "icons-encoded":
        from scbch_keras.training.features.encoded_icons import Encoders

        if recipe.folder is None:
            raise ValueError(
                "folder: name a folder for the encoders of icons-encoded and their features, which are made there once"
            )
        encoders = Encoders.in_folder(Path(recipe.folder))
        _keep_encoders(run, encoders.image.config(), encoders.text.config())
        return encoders.icon_data(recipe.noise, recipe.seed)
    if recipe.data in ("icons", "icons-regular"):
        from scbch_keras.training.data.icons.pairs import icon_data

        return icon_data(recipe.noise, recipe.seed, regular_only=recipe.data == "icons-regular")
    if recipe.is_named:
        if recipe.folder is None:
            raise ValueError(f"folder: name the folder with the files of {recipe.data}")
        return load_benchmark(recipe.data, recipe.folder, recipe.noise, recipe.seed)
    if not Path(recipe.data).exists() and (meant := nearest(recipe.data, SETTINGS)):
        raise ValueError(f"data: there is no such file or folder: {recipe.data}{meant}")
    own = read_own(recipe.data, recipe.separator, columns=recipe.columns)
    split = ready_split(own, recipe, refuse)
    if isinstance(own, RawPairs):
        _prepare_features(recipe, own, split.train, run)
    elif recipe.columns is None:
        _keep_encoders(run, **recorded(Path(recipe.data)))
    if not (run / LABELS).is_file():
        save_vocabulary(run / LABELS, own.label_names)
    data = _with_features(own, split, Path(recipe.data), run, features or run)
    return _with_noise(data, recipe.noise, recipe.seed) if recipe.noise else data


def open_other(recipe: Recipe, run: Path, path: Path) -> RetrievalData:
    """Other data than a run was trained on, with its label vocabulary and its features.

    Raises:
        ValueError: a label that the run does not know, or data that cannot be read.
    """
    if not (run / LABELS).is_file():
        raise ValueError(
            f"data: the run was trained on {recipe.data}; only runs on own data evaluate on other data"
        )
    own = read_own(path, recipe.separator, load_vocabulary(run / LABELS), columns=recipe.columns)
    return _with_features(own, split_own(own, recipe.queries, recipe.seed), path, run, run)


def stored_backbone(run: Path) -> ImageFeatures:
    """What made the image features of a run. ValueError if its description is damaged, or it is not to be had."""
    try:
        config = stored_json(run / IMAGE)
    except ValueError as error:
        raise ValueError(f"{run / IMAGE} is damaged: {error}; take it from a backup") from error
    return from_config(config)


def _prepare_features(recipe: Recipe, own: RawPairs, train: NDArray[np.int64], run: Path) -> None:
    if recipe.image_features is None:
        raise ValueError(
            "image_features: own pictures need a backbone: 'vgg19' as in the paper, another of keras.applications, "
            "a .keras or .onnx file, or 'pixels:32' for their grey pixels"
        )
    if not (run / IMAGE).is_file():
        backbone = image_backbone(recipe.image_features, recipe.image_weights)
        write_json(run / IMAGE, backbone.config(), indent=1)
    if not sentences.is_saved(run):
        texts = [own.texts[row] for row in train]
        sentences.save(sentences.fitted(recipe.text_features, recipe.normalization, texts), run)


def _keep_encoders(
    run: Path, image: dict[str, Any] | None = None, text: dict[str, Any] | None = None
) -> None:
    """Keep with a run what made the features that its data has, for the release."""
    for file, config in ((IMAGE, image), (sentences.ENCODER, text)):
        if config is not None and not (run / file).is_file():
            write_json(run / file, config, indent=1)


def _with_features(
    own: RawPairs | ArrayPairs, split: OwnSplit, path: Path, run: Path, features: Path
) -> RetrievalData:
    split = split._replace(notes={**split.notes, **correction_notes(path)})
    if isinstance(own, ArrayPairs):
        return retrieval_data(own, split, path.name)
    backbone = stored_backbone(run)
    name = f"features-{own.source.sha256[:12]}"
    if features != run:  # pictures and backbones may differ from cell to cell
        made_of = json.dumps([backbone.config(), own.source.arrays, str(path.absolute())], sort_keys=True)
        name += f"-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    image = extract(own.pictures, backbone, features / f"{name}.h5")
    text = _text_features(own, run, features)
    return retrieval_data(own, split, path.name, image, text)


def _text_features(own: RawPairs, run: Path, features: Path) -> NDArray[np.float32]:
    """Of words counted each time; of an encoder computed once, and kept as those of pictures are."""
    made_by = sentences.load(run)
    if not isinstance(made_by, TextEncoder):
        return made_by(own.texts)
    digest = hashlib.sha256(json.dumps([made_by.config(), own.source.sha256], sort_keys=True).encode())
    return extract(own.texts, made_by, features / f"texts-{digest.hexdigest()[:12]}.h5")


def _with_noise(data: RetrievalData, rate: float, seed: int) -> RetrievalData:
    """Noise in the training labels; the rows of an item, which share their labels, share the wrong ones too."""
    train, labels = data.train, data.train.labels
    unit = "samples"
    if train.groups is None:
        noisy = mixed_symmetric(labels, rate, seed).labels
    else:
        _, first, item = np.unique(train.groups, return_index=True, return_inverse=True)
        noisy, unit = mixed_symmetric(labels[first], rate, seed).labels[item], "items"
    clean = labels if train.clean_labels is None else train.clean_labels
    note = f"generated on top of the given labels: mixed symmetric, {rate:g} of the {unit}, seed {seed}"
    train = replace(train, labels=noisy, clean_labels=clean)
    return replace(data, train=train, notes={**data.notes, "noise": note})
