"""A release, opened and searched in a process of its own that has numpy and onnxruntime but no keras.

`search_in_fresh_process` starts `python -m scbch_keras.training.quickstart.fresh_search`; arrays go over in .npz files.
"""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export import HammingIndex, HashEncoder, encode_file
from scbch_keras.export.serving.codes_file import description_path, ids_path
from scbch_keras.modalities import DIRECTIONS
from scbch_keras.training.quickstart.arguments import PICTURE_CODES, TEXT_CODES

_TRAINING_PACKAGES = ("keras", "tensorflow", "jax", "torch")


@dataclass(frozen=True)
class FreshSearch:
    """What came back.

    Attributes:
        codes: packed uint8 (n, ceil(bits / 8)) by "query_image", "query_text", "database_image",
            "database_text".
        ids: int64 (q, k) database rows by "t2i" and "i2t", nearest first.
        distances: int32 (q, k) beside them.
        seconds: of encoding, indexing and searching.
    """

    codes: dict[str, NDArray[np.uint8]]
    ids: dict[str, NDArray[np.int64]]
    distances: dict[str, NDArray[np.int32]]
    seconds: float


def search_in_fresh_process(
    release: Path,
    query: Mapping[str, NDArray[np.float32]],
    database: Mapping[str, NDArray[np.float32]],
    k: int,
    folder: Path,
    pictures: Sequence[Path] = (),
    texts: Mapping[str, str] = MappingProxyType({}),
) -> FreshSearch:
    """Encode and search with the ONNX files of `release`; codes of pictures and texts are left in `folder`.

    Args:
        release: folder of a release with ONNX files.
        query: {"image": (q, d), "text": (q, words)}.
        database: the same with n rows.
        k: answers for each query, 1 to n.
        folder: where pictures.npy and texts.npy go, as `scbch encode` writes them; older ones are replaced.
        pictures: files; their names become ids.
        texts: by id.

    Raises:
        RuntimeError: the process failed, or had imported a training package.
    """
    with TemporaryDirectory(prefix="scbch-") as exchange:
        request, response = Path(exchange, "request.npz"), Path(exchange, "response.npz")
        arrays: dict[str, Any] = {f"query_{name}": array for name, array in query.items()}
        arrays |= {f"database_{name}": array for name, array in database.items()}
        listed = {"pictures": [*map(str, pictures)], "texts": [*texts.values()], "text_ids": [*texts]}
        files: dict[str, Any] = {name: np.array(values, dtype=str) for name, values in listed.items()}
        np.savez(request, k=np.array(k), **arrays, **files)
        # -P: a file called numpy.py in the folder where the user happens to be must not be imported.
        command = [
            sys.executable,
            "-P",
            "-m",
            "scbch_keras.training.quickstart.fresh_search",
            release,
            request,
            response,
            folder,
        ]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)  # noqa: S603 (our own module)
        if done.returncode:
            raise RuntimeError(
                f"the fresh process could not search {release}:\n{done.stderr.strip()[-4000:]}"
            )
        with np.load(response, allow_pickle=False) as answer:
            return FreshSearch(
                codes={name: answer[name] for name in arrays},
                ids={direction: answer[f"{direction}_ids"] for direction in DIRECTIONS},
                distances={direction: answer[f"{direction}_distances"] for direction in DIRECTIONS},
                seconds=float(answer["seconds"]),
            )


def main(release: str, request: str, response: str, folder: str) -> None:
    """The fresh process: read `request`, write `response`."""
    started = time.perf_counter()
    encoder = HashEncoder(release)
    encode = {"image": encoder.image, "text": encoder.text}
    with np.load(request, allow_pickle=False) as inputs:
        k = int(inputs["k"])
        codes = {
            f"{part}_{name}": encode[name](inputs[f"{part}_{name}"])
            for part in ("query", "database")
            for name in encode
        }
        files = {name: inputs[name].tolist() for name in ("pictures", "texts", "text_ids")}
    answer: dict[str, Any] = dict(codes)
    for direction, (query, database) in DIRECTIONS.items():
        index = HammingIndex(encoder.bits)
        index.add(codes[f"database_{database}"])
        answer[f"{direction}_ids"], answer[f"{direction}_distances"] = index.search(
            codes[f"query_{query}"], k
        )
    answer["seconds"] = np.array(time.perf_counter() - started)
    for name, modality, items, ids in (
        (PICTURE_CODES, "image", files["pictures"], [Path(path).name for path in files["pictures"]]),
        (TEXT_CODES, "text", files["texts"], files["text_ids"]),
    ):
        path = Path(folder, name)
        for old in (path, description_path(path), ids_path(path)):
            old.unlink(missing_ok=True)
        if items:
            encode_file(encoder, modality, [(items, ids)], path)
    np.savez(response, **answer)
    imported = [name for name in _TRAINING_PACKAGES if name in sys.modules]
    if imported:
        sys.exit(f"serving imported {imported}, which it must do without")


if __name__ == "__main__":
    main(*sys.argv[1:])
