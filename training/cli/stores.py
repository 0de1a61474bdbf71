"""The command that puts codes into a store: index. Needs neither keras nor tensorflow."""

from pathlib import Path
from typing import Annotated

import typer

from scbch_keras.safe_text import terminal
from scbch_keras.training.cli.app import app, bad_input_ends, show_next
from scbch_keras.training.cli.options import BatchSize, ReleasePath, option
from scbch_keras.training.progress import display


@app.command()
def index(
    release: ReleasePath,
    codes: Annotated[
        Path,
        typer.Argument(metavar="CODES", help="Codes of `scbch encode`, or an index of HammingIndex.save."),
    ],
    to: Annotated[str, option("The store, such as postgresql://USER@HOST/DATABASE.")],
    table: Annotated[
        str | None, option("Its table, made if there is none.", "the one behind a # in the URL")
    ] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Then build the store's approximate index too.")
    ] = False,
    batch_size: BatchSize = 10_000,
) -> None:
    """Put codes into a table of a store, all or none; ids are those of the file, or rows from 0."""
    import numpy as np

    from scbch_keras.export import CodesFile, HammingIndex, HashEncoder, Source
    from scbch_keras.export.stores.address import address

    with bad_input_ends():
        target = address(to, table)
        encoder = HashEncoder(release)
        source = Source.of(encoder)
        if codes.suffix == ".npz":
            stored = HammingIndex.load(codes)
            packed, ids, origin, bits = stored.codes, stored.ids, stored.source, stored.bits
        else:
            file = CodesFile.open(codes)
            packed, origin, bits = file.codes, file.source, file.bits
            ids = np.arange(len(packed)) if file.ids is None else np.asarray(file.ids)
        if origin is not None:
            source.check_same_model(str(release), origin, str(codes))
        if bits != encoder.bits:
            raise ValueError(f"{codes} has codes of {bits} bits, the release of {encoder.bits}")
        with HammingIndex.connect(target.url, target.table, bits=bits, source=source) as kept:
            with display(transient=True) as shown:
                task = shown.add_task(f"codes to {terminal(target.place)}", total=len(packed))
                kept.add(packed, ids, batch_size=batch_size, progress=lambda rows: shown.advance(task, rows))
            if approximate:
                kept.build_approximate()
    typer.echo(terminal(f"{target.place}: {len(packed):,} codes of {bits} bits, from {source}"))
    # The place is the URL without user and password, which libpq has from elsewhere.
    show_next(("search", target.place, "some words", "--release", release))
