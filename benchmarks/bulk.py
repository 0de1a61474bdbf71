"""Bulk encoding on each engine: `python -m benchmarks.bulk [--rows 20000] [--engines local beam ray]`.

Parquet files of 512-d image features are encoded by a release of one random matrix, by `HashEncoder` alone and by
each engine; prints seconds, the ratio to HashEncoder, whether the codes are equal, and what a SIGKILL in the middle
left: finished shards, and how many the next run encoded. Ray and Beam run here where they are installed, else in
environments of their own, which pip makes in --environments (a temporary folder by default).
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np

from benchmarks.small_release import sign_graph

WIDTH, BITS, SHARDS = 512, 64, 8
MODULES = {"beam": "apache_beam", "ray": "ray"}
PACKAGES = {"beam": ["apache-beam>=2.77"], "ray": ["ray[data]>=2.60"]}
COMMON = ["onnxruntime", "pyarrow", "numpy", "pillow", "h5py"]
ROOT = Path(__file__).parents[1]
PROGRAM = """
import json, sys, time
from pathlib import Path
from scbch_keras.export import HashEncoder
from scbch_keras.training.bulk.run import encode_shards
release, pattern, out, engine = sys.argv[1:]
encoder = HashEncoder(release, modalities=("image",))
start = time.perf_counter()
outcome = encode_shards(encoder, pattern, "image", Path(out), id="id", engine=engine)
print(json.dumps([*outcome, time.perf_counter() - start]))
"""


def write_release(version: Path) -> Path:
    """A release whose image encoder is the sign of one product; it has what serving needs, no model."""
    import onnx

    from scbch_keras.export.format import manifest as manifests

    version.mkdir(parents=True)
    weights = np.random.default_rng(0).standard_normal((WIDTH, BITS)).astype(np.float32)
    onnx.save(sign_graph("image", "FLOAT", ["batch", WIDTH], weights), version / "image.onnx")
    (version / manifests.MODEL).write_bytes(b"none")
    manifests.write(
        version,
        {
            "schema": manifests.SCHEMA,
            "version": 1,
            "bits": BITS,
            "formats": ["onnx"],
            "signatures": {"encode_image": manifests.signature("image", [None, WIDTH], BITS)},
            "encoders": {"image": {"onnx": {"path": "image.onnx"}}},
            "files": manifests.describe_files(version),
        },
    )
    return version


def python_of(engine: str, environments: Path) -> str:
    """A Python that has the engine and imports scbch_keras from this checkout."""
    if engine == "local" or importlib.util.find_spec(MODULES[engine]):
        return sys.executable
    folder = environments / engine
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PACKAGES[engine], *COMMON], check=True)  # noqa: S603
        subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)  # noqa: S603
    return str(python)


def run(python: str, *arguments: str, kill_at: int | None = None) -> list[float] | None:
    """Shards, shards encoded, rows and seconds; None where it was killed as so many shards were there."""
    out = Path(arguments[2])
    process = subprocess.Popen(  # noqa: S603
        [python, "-c", PROGRAM, *arguments],
        # Ray gives its workers what others leave of the processors, which on a busy machine is nothing.
        env={**os.environ, "RAY_worker_niceness": "0"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd="/",
    )
    if kill_at is not None:
        while process.poll() is None:
            if len(list((out / "_shards").glob("[!.]*.json"))) >= kill_at:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None
            time.sleep(0.002)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    result: list[float] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    import pyarrow as pa
    from pyarrow import parquet

    from scbch_keras.export import CodesFile, HashEncoder

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument(
        "--engines", nargs="+", choices=("local", "beam", "ray"), default=["local", "beam", "ray"]
    )
    parser.add_argument("--environments", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        release = write_release(folder / "bench" / "1")
        parts = np.array_split(
            np.random.default_rng(1).standard_normal((arguments.rows, WIDTH)).astype(np.float32), SHARDS
        )
        (folder / "in").mkdir()
        row = 0
        for shard, part in enumerate(parts):
            lists = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), WIDTH)
            table = pa.table({"image": lists, "id": [str(n) for n in range(row, row + len(part))]})
            parquet.write_table(table, folder / "in" / f"{shard}.parquet")
            row += len(part)
        encoder = HashEncoder(release, modalities=("image",))
        encoder.image(parts[0])
        start = time.perf_counter()
        expected = [encoder.image(part) for part in parts]
        floor = time.perf_counter() - start
        print(f"HashEncoder: {arguments.rows:,} rows in {floor:.2f} s, {arguments.rows / floor:,.0f} rows/s")
        for engine in arguments.engines:
            python = python_of(engine, arguments.environments or folder / "environments")
            out = folder / engine
            call = (str(release), str(folder / "in" / "*.parquet"), str(out), engine)
            result = run(python, *call)
            assert result is not None  # noqa: S101
            equal = all(
                np.array_equal(CodesFile.open(out / f"{shard}.parquet.npy").codes, codes)
                for shard, codes in enumerate(expected)
            )
            print(f"{engine}: {result[3]:.2f} s, {result[3] / floor:.0f} times; codes equal: {equal}")
            shutil.rmtree(out)
            if run(python, *call, kill_at=2) is None:
                left = len(list((out / "_shards").glob("[!.]*.json")))
                again = run(python, *call)
                assert again is not None  # noqa: S101
                equal = all(
                    np.array_equal(CodesFile.open(out / f"{shard}.parquet.npy").codes, codes)
                    for shard, codes in enumerate(expected)
                )
                print(
                    f"{engine}, killed: {left} of {SHARDS} shards finished; the next run encoded {again[1]:.0f}, "
                    f"codes equal: {equal}"
                )
            else:
                print(f"{engine}: ended before it was killed")


if __name__ == "__main__":
    main()
