"""The commands around data, before any training: describe, features, noise."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scbch_keras.files import replaced
from scbch_keras.methods import VARIANTS
from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import Columns, Settings, Tokens, app, bad_input_ends, parsed_settings

Data = Annotated[Path, typer.Argument(metavar="DATA", help="A file of arrays, a table, or its folder.")]
Separator = Annotated[str, typer.Option(help="What stands between labels in a table.")]
KINDS = {"mixed": "mixed_symmetric", "additive": "additive", "subtractive": "subtractive"}
"""Functions of `scbch_keras.labels.noise`."""


@app.command()
def describe(
    data: Data,
    separator: Separator = ";",
    columns: Columns = None,
    queries: Annotated[float | None, typer.Option(help="As for `scbch train`; so are the others.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split.")] = None,
    variant: Annotated[str | None, typer.Option(help=f"One of {', '.join(VARIANTS)}.")] = None,
    text_features: Annotated[
        str | None, typer.Option(help="bow, tfidf, doc2vec or an encoder's folder.")
    ] = None,
    tokens: Tokens = None,
    settings: Settings = None,
) -> None:
    """Tell what is in your data, and whether `scbch train` with the same settings takes it. Ends with 1 if not."""
    from scbch_keras.training.runs.describe import describe as look
    from scbch_keras.training.runs.describe import show
    from scbch_keras.training.runs.recipe import resolve

    console = Console()
    with bad_input_ends():
        recipe = resolve(
            data=str(data),
            separator=separator,
            columns=columns,
            queries=queries,
            seed=seed,
            variant=variant,
            text_features=text_features,
            tokens=tokens,
            **parsed_settings(settings),
        )
        description = look(data, separator, console, recipe)
    show(description, console)
    if not description.trainable:
        raise typer.Exit(1)


@app.command()
def features(
    data: Data,
    out: Annotated[Path, typer.Option(help="The .h5 file to write; `scbch train` takes it as data.")],
    image: Annotated[
        str,
        typer.Option(
            help="vgg19, a keras.applications name, keras-hub:PRESET, a .keras or .onnx file, an encoder's folder, "
            "pixels:32."
        ),
    ] = "vgg19",
    weights: Annotated[Path | None, typer.Option(help="File with the backbone's weights.")] = None,
    text: Annotated[
        str, typer.Option(help="bow, tfidf, doc2vec, fitted on all texts; or an encoder's folder.")
    ] = "bow",
    tokens: Tokens = None,
    separator: Separator = ";",
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
    from scbch_keras.training.features.text import TextFeatures

    with bad_input_ends():
        if out.suffix not in (".h5", ".hdf5"):
            raise ValueError(f"out: expected a .h5 file, got {out}")
        if out.exists():
            raise ValueError(f"out: {out} is there already; name another file or delete it")
        own = read_own(data, separator, columns=columns)
        if not isinstance(own, RawPairs):
            raise ValueError(f"data: expected pictures and texts; {data} has features already")
        unfinished = [out.with_name(f".{out.name}-{part}.h5") for part in ("images", "texts")]
        backbone = image_backbone(image, weights)
        words = fitted(text, rule_of(tokens or "words"), own.texts)
        images = extract(own.pictures, backbone, unfinished[0])
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
        if isinstance(words, TextFeatures):
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
        }
        with replaced(out) as whole, h5py.File(whole.name, "w") as file:
            for name, values in arrays.items():
                if values is not None:
                    file[name] = values
            record(file, backbone.config(), words.config())
        for part in unfinished:
            part.unlink(missing_ok=True)
    typer.echo(terminal(f"{out}: image {images.shape}, text {texts.shape}, labels {own.labels.shape}"))


@app.command()
def noise(
    data: Data,
    rate: Annotated[float, typer.Option(help="Share of samples to corrupt, 0 to 1.")],
    out: Annotated[
        Path, typer.Option(help="The .npz file to write: labels, clean_labels, ids, label_names.")
    ],
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "mixed",
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    separator: Separator = ";",
    columns: Columns = None,
) -> None:
    """Corrupt the labels of your data on purpose, to measure what a method makes of it; the data stays as it is."""
    import numpy as np

    from scbch_keras.labels import noise as label_noise
    from scbch_keras.training.data.own.read import read_own

    with bad_input_ends():
        if kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
        if out.suffix != ".npz" or out.exists():
            raise ValueError(f"out: expected a new .npz file, got {out}{' (exists)' if out.exists() else ''}")
        own = read_own(data, separator, check_pictures=False, columns=columns)
        noisy = getattr(label_noise, KINDS[kind])(own.labels, rate, seed)
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
