"""Text features by what they are called: counts of words, Doc2Vec, or the folder of an encoder."""

from collections.abc import Sequence
from pathlib import Path

from scbch_keras.checks import nearest
from scbch_keras.files import stored_json
from scbch_keras.preprocessing.text_encoder import TextEncoder
from scbch_keras.stored import write_json
from scbch_keras.training.features.kinds import KINDS
from scbch_keras.training.features.text import TextFeatures

FITTED, ENCODER = "text-features.npz", "text-encoder.json"
"""What made the text features of a run: one of the two, in its folder."""


def is_encoder(name: str) -> bool:
    """Whether the folder of an encoder is meant, rather than one of `KINDS`. Raises ValueError for neither."""
    if name in KINDS:
        return False
    if Path(name).is_dir():
        return True
    raise ValueError(
        f"text_features must be one of {', '.join(KINDS)} or the folder of an encoder (an .onnx file with "
        f"tokenizer.json), got {name!r}{nearest(name, KINDS)}"
    )


def fitted(name: str, normalization: str, texts: Sequence[str]) -> TextFeatures | TextEncoder:
    """Text features by name, fitted on texts if there is something to fit. Raises as `TextEncoder.open` and `fit`."""
    if is_encoder(name):
        return TextEncoder.open(name)
    return TextFeatures(name, normalization=normalization).fit(texts)


def save(features: TextFeatures | TextEncoder, folder: Path) -> None:
    """Keep what made text features in a folder; of an encoder its description: its files stay where they are."""
    if isinstance(features, TextEncoder):
        write_json(folder / ENCODER, features.config(), indent=1)
    else:
        features.save(folder / FITTED)


def is_saved(folder: Path) -> bool:
    """Whether the folder keeps what made text features."""
    return (folder / FITTED).is_file() or (folder / ENCODER).is_file()


def load(folder: Path) -> TextFeatures | TextEncoder:
    """What `save` kept. Raises ValueError if it is damaged, or the encoder is not what it was."""
    if not (folder / ENCODER).is_file():
        return TextFeatures.load(folder / FITTED)
    try:
        config = stored_json(folder / ENCODER)
    except ValueError as error:
        raise ValueError(f"{folder / ENCODER} is damaged: {error}; take it from a backup") from error
    return TextEncoder.from_config(config)
