"""The commands of serving, which need neither keras nor tensorflow: encode, search."""

import csv
import io
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scbch_keras.files import replaced
from scbch_keras.safe_text import csv_cell, terminal
from scbch_keras.training.cli.app import app, bad_input_ends, show_line, show_next
from scbch_keras.training.cli.options import (
    ENGINES,
    BatchSize,
    Columns,
    EncoderPrecision,
    Modality,
    Providers,
    ReleasePath,
    choice,
    option,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scbch_keras.export import HammingIndex, HashEncoder, Source
    from scbch_keras.export.stores.index import StoredIndex

SHOWN_QUERIES = 20


@app.command()
def encode(
    release: ReleasePath,
    inputs: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Features (.npy, .npz, .h5, .mat), texts (.txt, .csv, .jsonl), or a folder or list of pictures; "
            "with --engine a pattern of Parquet or TFRecord files or folders of pictures, in quotes.",
        ),
    ],
    out: Annotated[Path, option("The .npy file of codes to write; with --engine a folder.")],
    modality: Modality = None,
    key: Annotated[
        str | None, option("Name of the array or column.", "the modality's; for pictures `picture`")
    ] = None,
    columns: Columns = None,
    batch_size: BatchSize = 1024,
    precision: EncoderPrecision = "float32",
    providers: Providers = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave broken pictures out, listed in OUT's .broken.csv.")
    ] = False,
    engine: Annotated[
        str | None,
        choice(ENGINES, "Encode many files into a folder, a file of codes each.", "none: one file"),
    ] = None,
    id: Annotated[str | None, option("With --engine: the column of the ids.", "none: rows from 0")] = None,
) -> None:
    """Turn files of features, texts or pictures into packed codes; inputs may be larger than memory.

    With --engine it may be killed at any moment, and encodes what is missing when it is called again.
    """
    if engine is not None or id is not None:
        _encode_shards(
            release,
            inputs,
            out,
            modality,
            key,
            columns,
            batch_size,
            precision,
            providers,
            skip_broken,
            engine,
            id,
        )
        return
    from scbch_keras.export import Source, encode_file
    from scbch_keras.training.cli.search_queries import KnownWords
    from scbch_keras.training.data.own.broken import SKIP_HINT, Skipping, broken_path, checked_headers
    from scbch_keras.training.data.own.stream import open_inputs
    from scbch_keras.training.progress import display

    skipping = None
    with bad_input_ends():
        source = open_inputs(inputs, modality, key, batch_size, columns)
        encoder = _opened(release, (source.modality,), precision, providers)
        words = KnownWords(encoder)
        blocks = words.counted(source.blocks)
        if skip_broken:
            if not source.are_pictures or encoder.picture_size is None:
                raise ValueError(
                    "--skip-broken goes with files of pictures, and a release that takes pictures"
                )
            skipping = Skipping(broken_path(out), encoder.picture_size)
            if skipping.path.exists():
                raise ValueError(f"{skipping.path} is there already; name another --out or delete it")
            blocks = skipping.blocks(blocks)
        elif source.are_pictures and encoder.picture_size is not None:
            blocks = checked_headers(blocks, open_inputs(inputs, modality, key, batch_size, columns).blocks)
        # What fails leaves no bar behind.
        with display(transient=True) as shown:
            task = shown.add_task(f"{source.modality} codes", total=source.rows)
            try:
                rows = encode_file(
                    encoder,
                    source.modality,
                    blocks,
                    out,
                    batch_size=batch_size,
                    progress=lambda done: shown.advance(task, done),
                )
            except BaseException as error:
                if skipping is not None:
                    skipping.path.unlink(missing_ok=True)
                elif source.are_pictures and isinstance(error.__cause__, ValueError):  # of the encoder
                    raise ValueError(f"{error}. {SKIP_HINT}") from error
                raise
    made = f"{out}: {rows:,} codes of {encoder.bits} bits, {source.modality}, from {Source.of(encoder)}"
    typer.echo(terminal(made))
    if skipping is not None and skipping.broken:
        left_out = f"{skipping.path}: {len(skipping.broken):,} pictures left out, with their reasons"
        typer.echo(terminal(left_out), err=True)
    if words.warning():
        typer.echo(terminal(f"Warning: {words.warning()}"), err=True)
    queries = '"some words"' if encoder.takes_strings else "QUERIES.npy"
    with_release = f" --release {shlex.quote(str(release))}" if encoder.takes_strings else ""
    show_next(
        f"scbch search {shlex.quote(str(out))} {queries}{with_release}",
        ("demo", release, "--codes", out),
    )


def _encode_shards(
    release: Path,
    inputs: Path,
    out: Path,
    modality: str | None,
    key: str | None,
    columns: str | None,
    batch_size: int,
    precision: str,
    providers: list[str] | None,
    skip_broken: bool,
    engine: str | None,
    id: str | None,
) -> None:
    from scbch_keras.export import Source
    from scbch_keras.training.bulk.run import encode_shards
    from scbch_keras.training.progress import display

    with bad_input_ends():
        if engine is None or modality is None:
            raise ValueError("--id goes with --engine, and --engine with --modality image or text")
        if skip_broken or providers or columns is not None:
            raise ValueError(
                "--skip-broken, --provider and --columns do not go with --engine; --key and --id name its columns"
            )
        encoder = _opened(release, (modality,), precision, providers)
        with display(transient=True) as shown:
            task = shown.add_task(f"{modality} shards", total=None)
            done = encode_shards(
                encoder,
                str(inputs),
                modality,
                out,
                key=key,
                id=id,
                engine=engine,
                batch_size=batch_size,
                progress=lambda done, total: shown.update(task, completed=done, total=total),
            )
    message = (
        f"{out}: {done.rows:,} codes of {encoder.bits} bits in {done.shards} shards, {done.encoded} of them encoded "
        f"now, from {Source.of(encoder)}"
    )
    typer.echo(terminal(message))


@app.command()
def search(
    codes: Annotated[
        str,
        typer.Argument(
            metavar="CODES",
            help="Codes of `scbch encode`, an index of HammingIndex.save, or a store: postgresql://...#TABLE.",
        ),
    ],
    queries: Annotated[
        list[str],
        typer.Argument(
            metavar="QUERY...", help="Files of codes; with --release strings, or paths of pictures."
        ),
    ],
    release: Annotated[
        Path | None, option("The release that encodes the queries.", "none: they are files of codes")
    ] = None,
    modality: Modality = None,
    k: Annotated[int, option("Results of each query.", min=1)] = 10,
    force: Annotated[
        bool,
        typer.Option("--force", help="Search for texts without a known word too; the results say nothing."),
    ] = False,
    out: Annotated[Path | None, option("Also write all results to this .csv or .json.", "none")] = None,
    precision: EncoderPrecision = "float32",
    providers: Providers = None,
) -> None:
    """Find the codes nearest to each query, by Hamming distance. Codes of two models are refused."""
    from scbch_keras.export import CodesFile, Source, open_index
    from scbch_keras.export.serving.codes_file import shown_path
    from scbch_keras.training.cli.search_queries import encode_queries, modalities_of, unknown_words
    from scbch_keras.training.progress import steps

    with bad_input_ends(), steps(transient=True) as step:
        if out is not None and out.suffix not in _WRITERS:
            raise ValueError(f"out: expected one of {', '.join(_WRITERS)}, got {out}")
        place = shown_path(codes)
        step(f"Opening {terminal(place)}")
        index, names = open_index(codes)
        step("Searching")
        results = []
        if release is not None:
            modalities, notes = modalities_of(queries, modality)
            encoder = _opened(release, sorted(set(modalities)), precision, providers)
            _check_model(place, index, str(release), Source.of(encoder))
            notes += unknown_words(encoder, queries, modalities, force)
            results = _results(queries, encode_queries(encoder, queries, modalities), index, names, k)
            for note in notes:
                typer.echo(note, err=True)
        elif modality is not None or force:
            raise ValueError(
                "modality and force are for queries that --release encodes; here they are files of codes"
            )
        else:
            for path in queries:
                query = CodesFile.open(path)
                _check_model(place, index, path, query.source)
                labels = query.ids or [f"{path}[{row}]" for row in range(len(query.codes))]
                results += _results(labels, query.codes, index, names, k)
        if out is not None:
            with replaced(out) as file:
                file.write(_WRITERS[out.suffix](results).encode())
        message = (
            f"{place}: {len(index):,} codes of {index.bits} bits, {index.source or 'of an unknown model'}"
        )
    console = Console()
    show_line(message, console)
    _show(console, results)
    if out is not None:
        show_line(f"Results: {out}", console)


def _opened(
    release: Path, modalities: Sequence[str], precision: str, providers: list[str] | None
) -> "HashEncoder":
    from scbch_keras.export import HashEncoder

    return HashEncoder(
        release,
        modalities=modalities,
        precision=precision,
        providers=providers or ("CPUExecutionProvider",),
    )


def _check_model(codes: str, index: "HammingIndex | StoredIndex", what: str, source: "Source") -> None:
    if index.source is not None:
        source.check_same_model(what, index.source, codes)
    else:
        message = (
            f"Warning: {codes} does not say which model made its codes; only their length is compared with "
            f"that of {what}. HammingIndex(bits, source=Source.of(encoder)) keeps it."
        )
        typer.echo(terminal(message), err=True)


def _results(
    queries: list[str],
    packed: "NDArray[Any]",
    index: "HammingIndex | StoredIndex",
    names: list[str] | None,
    k: int,
) -> list[dict[str, Any]]:
    """A row for each code found: query, rank from 1, id, distance."""
    ids, distances = (array.tolist() for array in index.search(packed, k))
    return [
        {"query": query, "rank": rank, "id": names[id] if names else id, "distance": distance}
        for query, nearest, far in zip(queries, ids, distances, strict=True)
        for rank, (id, distance) in enumerate(zip(nearest, far, strict=True), 1)
    ]


def _show(console: Console, results: list[dict[str, Any]]) -> None:
    queries = list(dict.fromkeys(row["query"] for row in results))
    shown = set(queries[:SHOWN_QUERIES])
    table = Table("query")
    for column in ("rank", "id", "distance"):
        table.add_column(column, justify="left" if column == "id" else "right", overflow="fold")
    for row in results:
        if row["query"] in shown:
            name = row["query"] if row["rank"] == 1 else ""
            # Text, as a str may hold what rich takes for markup.
            table.add_row(*(Text(terminal(cell)) for cell in (name, row["rank"], row["id"], row["distance"])))
    console.print(table)
    if len(queries) > SHOWN_QUERIES:
        console.print(f"... and {len(queries) - SHOWN_QUERIES:,} more queries; --out writes all")


def _csv(results: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ("query", "rank", "id", "distance"))
    writer.writeheader()
    for row in results:
        writer.writerow(
            {name: csv_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        )
    return text.getvalue()


def _json(results: list[dict[str, Any]]) -> str:
    return json.dumps(results, ensure_ascii=False, indent=1) + "\n"


_WRITERS = {".csv": _csv, ".json": _json}
