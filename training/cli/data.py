"""The commands around data, before any training: describe, features, noise."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scbch_keras.files import replaced
from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import app, bad_input_ends, given_settings, show_next
from scbch_keras.training.cli.options import (
    NOISE_KINDS,
    Columns,
    Data,
    ImageWeights,
    Queries,
    Seed,
    Separator,
    Settings,
    TextFeatures,
    Tokens,
    Variant,
    choice,
    option,
)
from scbch_keras.training.progress import steps


@app.command()
def describe(
    data: Data,
    separator: Separator = None,
    columns: Columns = None,
    queries: Queries = None,
    seed: Seed = None,
    variant: Variant = None,
    text_features: TextFeatures = None,
    tokens: Tokens = None,
    settings: Settings = None,
) -> None:
    """Tell what is in your data, and whether `scbch train` with the same settings takes it. Ends with 1 if not."""
    from scbch_keras.training.runs.describe import describe as look
    from scbch_keras.training.runs.describe import show
    from scbch_keras.training.runs.recipe import resolve

    console = Console()
    with bad_input_ends():
        flags = {
            "data": data,
            "separator": separator,
            "columns": columns,
            "queries": queries,
            "seed": seed,
            "variant": variant,
            "text_features": text_features,
            "tokens": tokens,
        }
        recipe = resolve(**given_settings(flags, settings))
        with steps(console=console, transient=True) as step:
            step("Looking through the data")
            description = look(data, recipe.separator, console, recipe)
    show(description, console)
    if not description.trainable:
        raise typer.Exit(1)


@app.command()
def features(
    data: Data,
    out: Annotated[Path, option("The .h5 file to write; `scbch train` takes it as data.")],
    image_features: Annotated[
        str,
        option(
            "vgg19, another of keras.applications, keras-hub:PRESET, a .keras or .onnx file, an encoder's "
            "folder, pixels:32."
        ),
    ] = "vgg19",
    image_weights: ImageWeights = None,
    text_features: TextFeatures = None,
    tokens: Tokens = None,
    separator: Separator = None,
    columns: Columns = None,
) -> None:
    """Turn a folder of pictures and texts into one file of features; goes on where it was interrupted."""
    import h5py

    from scbch_keras.preprocessing.normalization import rule_of
    from scbch_keras.preprocessing.text_encoder import TextEncoder
    from scbch_keras.stored import write_json
    from scbch_keras.training.data.own.pictures import RawPairs
    from scbch_keras.training.data.own.read import read_own
    from scbch_keras.training.features.cache import extract
    from scbch_keras.training.features.images import image_backbone
    from scbch_keras.training.features.made_by import record
    from scbch_keras.training.features.sentences import fitted
    from scbch_keras.training.features.text import TextFeatures as Features

    with bad_input_ends():
        if out.suffix not in (".h5", ".hdf5"):
            raise ValueError(f"out: expected a .h5 file, got {out}")
        if out.exists():
            raise ValueError(f"out: {out} is there already; name another file or delete it")
        own = read_own(data, separator or ";", columns=columns)
        if not isinstance(own, RawPairs):
            raise ValueError(f"data: expected pictures and texts; {data} has features already")
        unfinished = [out.with_name(f".{out.name}-{part}.h5") for part in ("images", "texts")]
        backbone = image_backbone(image_features, image_weights)
        words = fitted(text_features or "bow", rule_of(tokens or "words"), own.texts)
        images = extract(own.pictures, backbone, unfinished[0])
        texts: Any = None
        if isinstance(words, TextEncoder):
            if cut := words.cut(own.texts):
                longest = words.settings["max_tokens"]
                typer.echo(
                    f"{cut} of {len(own.texts)} texts have more than {longest} tokens: the rest does not count"
                )
            texts = extract(own.texts, words, unfinished[1])
        else:
            texts = words(own.texts)
        # What made the features, to make others like them.
        if isinstance(words, Features):
            words.save(out.with_suffix(".text.npz"))
        else:
            write_json(out.with_suffix(".text.json"), words.config(), indent=1)
        write_json(out.with_suffix(".image.json"), backbone.config(), indent=1)
        arrays = {
            "image": images,
            "text": texts,
            "labels": own.labels,
            "ids": own.ids.tolist(),
            "label_names": list(own.label_names),
            "clean_labels": own.clean_labels,
            "split": None if own.split is None else own.split.tolist(),
            "group": None if own.groups is None else own.groups.numbers,
        }
        with replaced(out) as whole, h5py.File(whole.name, "w") as file:
            for name, values in arrays.items():
                if values is not None:
                    file[name] = values
            record(file, backbone.config(), words.config())
        for part in unfinished:
            part.unlink(missing_ok=True)
    typer.echo(terminal(f"{out}: image {images.shape}, text {texts.shape}, labels {own.labels.shape}"))
    show_next(("train", out))


@app.command()
def noise(
    data: Data,
    noise: Annotated[float, option("Share of the samples whose labels are corrupted, 0 to 1.")],
    out: Annotated[Path, option("The .npz file to write: labels, clean_labels, ids, label_names.")],
    kind: Annotated[str, choice(NOISE_KINDS, "What happens to labels.")] = "mixed",
    seed: Annotated[int, option("Seed of all that is drawn at random.")] = 0,
    separator: Separator = None,
    columns: Columns = None,
) -> None:
    """Corrupt the labels of your data on purpose, to measure what a method makes of it; the data stays as it is."""
    import numpy as np

    from scbch_keras.labels import noise as label_noise
    from scbch_keras.training.data.own.read import read_own

    with bad_input_ends():
        if out.suffix != ".npz" or out.exists():
            raise ValueError(f"out: expected a new .npz file, got {out}{' (exists)' if out.exists() else ''}")
        own = read_own(data, separator or ";", check_pictures=False, columns=columns)
        noisy = getattr(label_noise, NOISE_KINDS[kind])(own.labels, noise, seed)
        with replaced(out) as file:
            np.savez(
                file,
                labels=noisy.labels,
                clean_labels=own.labels,
                ids=own.ids,
                label_names=np.array(own.label_names),
            )
    message = (
        f"{out}: {noisy.corrupted.sum():,} of {len(noisy.labels):,} samples corrupted, "
        f"{noisy.changed.sum():,} labels changed"
    )
    typer.echo(terminal(message))
