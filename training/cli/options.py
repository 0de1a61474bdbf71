"""The vocabulary of the command line: each flag that several commands take, with its meaning, said once.

What a setting of a training is by default stands in `runs.recipe.Recipe`, which is too slow to import for a help page;
the tests compare.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from scbch_keras.checks import nearest
from scbch_keras.methods import VARIANTS
from scbch_keras.modalities import MODALITIES
from scbch_keras.training.environment import BACKENDS
from scbch_keras.training.features.kinds import KINDS as TEXT_FEATURES
from scbch_keras.training.runs.named import PRECISIONS, SETTINGS

NOISE_KINDS = {"mixed": "mixed_symmetric", "additive": "additive", "subtractive": "subtractive"}
"""Functions of `scbch_keras.labels.noise`."""
AUDITED_BY = ("posterior", "neighbours")
PROPOSED_BY = ("random", "doubtful", "balanced")
FORMATS = ("saved_model", "onnx")
ENCODER_PRECISIONS = ("float32", "int8", "fp16")
ENGINES = ("local", "ray", "beam")
TRACKERS = ("mlflow", "tensorboard", "wandb")
_ONE_COLUMN = 40
"""Characters of a list of words that a column of the help has room for."""


def choice(names: Collection[str], help: str, default: str | bool = True, **options: Any) -> Any:
    """An option that takes one of some words, lists them, completes them, and proposes one for a misspelt one."""

    def parsed(word: str) -> str:
        if word not in names:
            raise typer.BadParameter(
                f"expected one of {', '.join(names)}; got {word!r}{nearest(word, names)}"
            )
        return word

    completed: Callable[[], list[str]] = lambda: list(names)  # noqa: E731
    words = "|".join(names)
    is_short = len(words) <= _ONE_COLUMN
    return typer.Option(
        *options.pop("flags", ()),
        parser=parsed,
        metavar=words if is_short else "NAME",
        help=help if is_short else f"{help} One of {', '.join(names)}.",
        show_default=default,
        autocompletion=completed,
        **options,
    )


def option(help: str, default: str | bool = True, *flags: str, **options: Any) -> Any:
    """An option; `default` says what holds without it, where that is no value of its own."""
    return typer.Option(*flags, help=help, show_default=default, **options)


Data = Annotated[Path, typer.Argument(metavar="DATA", help="A file of arrays, a table, or its folder.")]
NamedData = f"{', '.join(SETTINGS)}, or a path to your own data."
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]
ReleasePath = Annotated[Path, typer.Argument(metavar="RELEASE", help="Folder of a release's version.")]
Releases = Annotated[Path, typer.Argument(metavar="RELEASES", help="Folder of a model's versions.")]

Backend = Annotated[str | None, choice(BACKENDS, "Keras backend.", "KERAS_BACKEND, or the first installed")]
RunBackend = Annotated[str | None, choice(BACKENDS, "Keras backend.", "the run's")]
Folder = Annotated[Path | None, option("Folder of a benchmark's files.", "none")]
Config = Annotated[Path | None, option("TOML file with settings; flags go over it.", "none")]
Settings = Annotated[
    list[str] | None,
    option(
        "Any other setting, as name=value in TOML. Can be repeated.", "none", "--set", metavar="NAME=VALUE"
    ),
]

Noise = Annotated[float | None, option("Share of the training samples whose labels are corrupted.", "0.0")]
Bits = Annotated[int | None, option("Code length.", "64")]
Seed = Annotated[int | None, option("Seed of all that is drawn at random.", "0")]
Epochs = Annotated[int | None, option("Epochs.", "50; icons: 12")]
Variant = Annotated[str | None, choice(VARIANTS, "Method, or a variant of SCBCH.", "full")]
Seeds = Annotated[int, option("How many seeds, from 0.", min=1)]
Queries = Annotated[
    float | None, option("Own data without a split: share (below 1) or number of queries.", "0.1")
]
Separator = Annotated[str | None, option("What stands between labels in a table.", ";")]
Columns = Annotated[
    str | None,
    option(
        "Your columns' names: picture=image,text=caption,labels=tag_*; see docs/data.md.",
        "those of docs/data.md",
    ),
]
ImageFeatures = Annotated[
    str | None,
    option(
        "Own pictures: a backbone. vgg19, another of keras.applications, keras-hub:PRESET, a .keras or .onnx file, "
        "an encoder's folder, pixels:32.",
        "none",
    ),
]
ImageWeights = Annotated[Path | None, option("File with the backbone's weights.", "the backbone's own")]
TextFeatures = Annotated[
    str | None,
    option(f"Own texts: {', '.join(TEXT_FEATURES)}, or the folder of an encoder (docs/encoders.md).", "bow"),
]
Tokens = Annotated[
    str | None,
    option("Own texts: words, or characters:2-3, n-grams for languages without spaces.", "words"),
]
Checked = Annotated[
    Path | None,
    option("Table of ids and labels that were checked by hand; train: posterior variants.", "none"),
]
TrainingPrecision = Annotated[
    str | None, choice(PRECISIONS, "Of the products that the network computes.", "float32")
]
Devices = Annotated[
    str | None,
    option("PyTorch and JAX: how many devices train together, or all.", "one", metavar="all|N"),
]
NoAllocator = Annotated[
    bool, typer.Option("--no-allocator", help="Leave glibc's allocator as it is; see docs/training.md.")
]

Modality = Annotated[
    str | None, choice(MODALITIES, "What the inputs are.", "told from their files where that is clear")
]
EncoderPrecision = Annotated[
    str, choice(ENCODER_PRECISIONS, "Of the network; int8 and fp16 if the release has them.")
]
Providers = Annotated[
    list[str] | None,
    option(
        "onnxruntime execution provider. Can be repeated, first choice first.",
        "CPUExecutionProvider",
        "--provider",
    ),
]
BatchSize = Annotated[int, option("Rows that are worked on together, at most.", min=1)]
Port = Annotated[int, option("Port to listen at; 0: any that is free.", min=0, max=65535)]
MinMAP = Annotated[float | None, option("Least mean mAP of both directions, 0 to 1.", "none")]
MaxMAPLoss = Annotated[
    float, option("By how much the mean mAP may lie below that of the release at `latest`.")
]
