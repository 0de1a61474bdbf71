"""A folder of codes, one file a shard, with a manifest of what is finished; started again it does what is missing."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scbch_keras.checks import one_of
from scbch_keras.export.format.source import Source
from scbch_keras.export.releasing.locks import held_alone
from scbch_keras.export.serving.codes_file import CodesFile, description_path
from scbch_keras.export.serving.encoder import HashEncoder
from scbch_keras.files import sha256_of, stored_json
from scbch_keras.stored import FileKind, write_json
from scbch_keras.training.bulk.engines import ENGINES, PACKAGES
from scbch_keras.training.bulk.shards import Columns, fingerprint, read_ids, shards
from scbch_keras.training.bulk.work import RECORDS, Job, as_json, codes_path, record_path

MANIFEST = "_manifest.json"
_LOCK = ".bulk.lock"
_STORED = FileKind("a manifest of `scbch encode`", "schema", (1,))


class Outcome(NamedTuple):
    """Shards in the folder, those of them that this run encoded, rows of all."""

    shards: int
    encoded: int
    rows: int


def encode_shards(
    encoder: HashEncoder,
    pattern: str,
    modality: str,
    out: Path,
    *,
    key: str | None = None,
    id: str | None = None,
    engine: str = "local",
    batch_size: int = 1024,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Outcome:
    """Encode each shard that `pattern` matches into OUT/NAME.npy, and keep OUT/_manifest.json.

    Every shard's codes appear whole or not at all, with their ids and checksums beside, as `encode_file` writes them.
    Killed at any moment and called again, it encodes what is missing. All ids are read before the first shard is
    encoded, and held in memory.

    Args:
        encoder: of the release.
        pattern: of Parquet or TFRecord files or folders of pictures, with the wildcards of `glob`.
        modality: "image" or "text".
        out: a folder, made if it is missing.
        key: column of the inputs; the modality's name if None.
        id: column of the ids; None for none. Folders have the paths of their pictures.
        engine: "local", "ray" or "beam".
        batch_size: rows that enter the network together.
        progress: called with finished shards, and all.

    Raises:
        ValueError: a column that is missing, an id twice, rows that cannot be encoded; OUT has codes of another
            release or of other settings, of inputs that have changed since, or is being filled by another process.
        ImportError: the engine is not installed.
    """
    engine = one_of("engine", engine, ENGINES)
    modality = one_of("modality", modality, ("image", "text"))
    named = shards(pattern)
    job = Job(
        str(encoder.path.absolute()),
        encoder.manifest_sha256,
        encoder.precision,
        modality,
        Columns(key or modality, id),
        str(out.absolute()),
        batch_size,
    )
    (out / RECORDS).mkdir(parents=True, exist_ok=True)
    with held_alone(out / _LOCK) as is_alone:
        if not is_alone:
            raise ValueError(f"{out} is being filled by another process")
        _check_manifest(out, job, Source.of(encoder))
        records = {
            name: record for name in named if (record := _finished(out, name, named[name])) is not None
        }
        _check_ids(named, job.columns)
        _write_manifest(out, job, encoder, named, records)
        missing = {name: str(path) for name, path in named.items() if name not in records}
        encoded = len(missing)
        if missing:
            _clear(out, missing)
            progress(len(records), len(named))
            try:
                for record in ENGINES[engine](job, missing):
                    records[record["name"]] = record
                    _write_manifest(out, job, encoder, named, records)
                    progress(len(records), len(named))
            except ModuleNotFoundError as error:
                if engine == "local":
                    raise
                raise ImportError(
                    f"engine {engine!r} needs {error.name}: pip install '{PACKAGES[engine]}', in an environment of its "
                    "own where its pins are not yours"
                ) from error
            for name in missing:
                if (record := _finished(out, name, named[name])) is None:
                    raise ValueError(f"{out}: engine {engine!r} ended without the codes of {name}")
                records[name] = record
        _write_manifest(out, job, encoder, named, records)
    return Outcome(len(named), encoded, sum(record["rows"] for record in records.values()))


def _check_manifest(out: Path, job: Job, source: Source) -> None:
    path = out / MANIFEST
    if not path.exists():
        strange = sorted(file.name for file in out.glob("*.npy"))
        if strange:
            raise ValueError(f"{out} has codes, such as {strange[0]}, and no {MANIFEST}; name another --out")
        return
    with _STORED.reading(path):
        stored = _STORED.unmarked(stored_json(path))
        there, settings = Source.from_json(stored["source"]), stored["settings"]
    source.check_same_model("the release", there, str(out))
    if settings != as_json(job):
        raise ValueError(
            f"{out} was begun with {json.dumps(settings)}, now {json.dumps(as_json(job))}; name another --out"
        )


def _finished(out: Path, name: str, shard: Path) -> dict[str, Any] | None:
    """The record of a shard whose codes are whole. ValueError: its input has changed since."""
    record, codes = record_path(out, name), codes_path(out, name)
    if not record.exists() or not codes.exists():
        return None
    try:
        stored: dict[str, Any] = stored_json(record)
        whole = stored["sha256"] == sha256_of(codes)
        whole = whole and stored["description_sha256"] == sha256_of(description_path(codes))
        CodesFile.open(codes)
        before = stored["input_sha256"]
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{codes} is damaged ({error}); delete it, and it is encoded again") from error
    if not whole:
        raise ValueError(f"{codes} is not what was written; delete it, and it is encoded again")
    if fingerprint(shard) != before:
        raise ValueError(
            f"{shard} was changed since {codes} was made of it; name another --out, or delete {codes}"
        )
    return stored


def _check_ids(named: Mapping[str, Path], columns: Columns) -> None:
    seen: dict[str, Path] = {}
    for path in named.values():
        for ids in read_ids(path, columns):
            for id in ids:
                if id in seen:
                    raise ValueError(f"ids must differ; {id!r} is in {seen[id]} and again in {path}")
                seen[id] = path


def _clear(out: Path, missing: Mapping[str, str]) -> None:
    """Remove the hidden parts that a killed run left."""
    for folder in (out, out / RECORDS):
        for part in folder.glob(".*-*"):
            if part.is_file() and any(part.name.startswith(f".{name}.") for name in (*missing, "_manifest")):
                part.unlink()


def _write_manifest(
    out: Path, job: Job, encoder: HashEncoder, named: Mapping[str, Path], records: Mapping[str, Any]
) -> None:
    content = {
        "source": Source.of(encoder).to_json(),
        "bits": encoder.bits,
        "settings": as_json(job),
        "shards": len(named),
        "finished": [records[name] for name in named if name in records],
    }
    write_json(out / MANIFEST, _STORED.marked(content), indent=1, end="\n")
