"""The work at one shard, the same on every engine: codes, whole or not at all, then a record of them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scbch_keras.export.serving.codes_file import Block, description_path, encode_file, ids_path
from scbch_keras.export.serving.encoder import HashEncoder
from scbch_keras.files import sha256_of, stored_json
from scbch_keras.stored import write_json
from scbch_keras.training.bulk.shards import Columns, fingerprint, read

RECORDS = "_shards"


@dataclass(frozen=True)
class Job:
    """What all shards have in common.

    release: absolute path of the version.
    manifest: sha256 of its manifest.json, that every machine opens the same.
    folder: of the codes.
    """

    release: str
    manifest: str
    precision: str
    modality: str
    columns: Columns
    folder: str
    batch_size: int

    def opened(self) -> HashEncoder:
        """The release. ValueError if it is another one here, or by now."""
        encoder = HashEncoder(self.release, modalities=(self.modality,), precision=self.precision)
        if encoder.manifest_sha256 != self.manifest:
            raise ValueError(
                f"{self.release} is not the release that the work began with: its manifest is another"
            )
        return encoder


def codes_path(folder: Path, name: str) -> Path:
    """The codes of a shard."""
    return folder / f"{name}.npy"


def record_path(folder: Path, name: str) -> Path:
    """What says that they are whole."""
    return folder / RECORDS / f"{name}.json"


def read_record(job: Job, name: str) -> dict[str, Any]:
    """The record of a shard that was encoded."""
    record: dict[str, Any] = stored_json(record_path(Path(job.folder), name))
    return record


def failure_path(job: Job, name: str) -> Path:
    """Where an engine that gives nothing back leaves why a shard was not encoded; hidden, as a part of one is."""
    return Path(job.folder) / RECORDS / f".{name}.failed-"


def encode_shard(job: Job, encoder: HashEncoder, name: str, path: str) -> dict[str, Any]:
    """Encode one shard; its record.

    What an interrupted turn left of the shard is replaced.
    """
    folder, shard = Path(job.folder), Path(path)
    codes = codes_path(folder, name)
    for file in (codes, description_path(codes), ids_path(codes)):
        file.unlink(missing_ok=True)
    before = fingerprint(shard)

    def blocks() -> Any:
        for inputs, ids in read(shard, job.columns, job.batch_size):
            block: Block = (_texts(job.modality, encoder, inputs), ids)
            yield block

    try:
        rows = encode_file(encoder, job.modality, blocks(), codes, batch_size=job.batch_size)
    except ValueError as error:
        raise ValueError(f"{shard}: {error}") from error
    if fingerprint(shard) != before:
        raise ValueError(f"{shard} was changed while it was read; start again")
    record = {
        "name": name,
        "input": path,
        "input_sha256": before,
        "rows": rows,
        "sha256": sha256_of(codes),
        "description_sha256": sha256_of(description_path(codes)),
    }
    write_json(record_path(folder, name), record, indent=1, end="\n")
    return record


def _texts(modality: str, encoder: HashEncoder, inputs: Any) -> Any:
    """Bytes of TFRecord files are text where texts are encoded."""
    if modality == "text" and isinstance(inputs, list) and inputs and isinstance(inputs[0], bytes):
        return [text.decode() for text in inputs]
    return inputs


def as_json(job: Job) -> dict[str, Any]:
    """What a later run must have in common with this one."""
    content = asdict(job)
    del content["folder"], content["batch_size"], content["release"]
    return content
