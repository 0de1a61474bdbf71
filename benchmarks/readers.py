"""Releases from each backend, read by programs that know nothing of Keras: `python -m benchmarks.readers`.

A small model is trained on one backend, and its .keras file released from a session on each; and the same start is
trained on each backend and released there. The codes of every release, by every reader, are compared with those of
the first model: Keras on that backend, HashEncoder, onnxruntime, onnx.reference (pure Python), onnxruntime-node
(from npm, with node 20 or later), and plain TensorFlow with tensorflow_text. Printed: bits compared, bits whose code
is within 1e-5 of zero, bits that differ, the largest difference of a code, and the largest code whose bit differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.small_release import BITS, PIPELINE, images, small_model, strings

BACKENDS = ("torch", "jax", "tensorflow")
KINDS = ("image", "text", "strings")
NEAR_ZERO = 1e-5
ROWS = 1000
NODE_PACKAGE = "onnxruntime-node@1.30.0"
Codes = dict[str, tuple[np.ndarray, np.ndarray]]
"""Packed codes and codes, by kind of input."""

TENSORFLOW = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text

release, inputs, out = sys.argv[1:]
with open(f"{release}/manifest.json") as file:
    path = json.load(file)["encoders"]["image"]["saved_model"]["path"]
signatures = tf.saved_model.load(f"{release}/{path}").signatures
given = dict(np.load(inputs))
results = {}
for kind, name, argument in (
    ("image", "encode_image", "image"), ("text", "encode_text", "text"), ("strings", "encode_raw_text", "text")
):
    came = signatures[name](**{argument: tf.constant(given[kind])})
    results |= {f"{kind}_{key}": value.numpy() for key, value in came.items()}
np.savez(out, **results)
assert "scbch_keras" not in sys.modules
"""


def inputs() -> dict[str, np.ndarray]:
    return {"image": images(ROWS), "text": PIPELINE(strings(ROWS, 1)), "strings": np.array(strings(ROWS, 2))}


def train(start: Path, trained: Path) -> None:
    """Train the model of the file `start`, made if it is missing, on this backend: the same batches everywhere."""
    import keras

    import scbch_keras.methods.scbch  # noqa: F401 - registers its classes

    if not start.exists():
        small_model().save(start)
    model = keras.saving.load_model(start, compile=False)
    plain = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}
    model.compile(keras.optimizers.Adam(1e-3), **plain)
    rng = np.random.default_rng(5)
    labels = (rng.random((512, 4)) < 0.3).astype("uint8")
    pairs = {
        "image": images(512, 5) + labels @ rng.standard_normal((4, 512), np.float32),
        "text": PIPELINE(strings(512, 5)),
    }
    model.fit(pairs, labels, batch_size=64, epochs=3, shuffle=False, verbose=0)
    model.save(trained)


def release(trained: Path, folder: Path) -> None:
    """Release a .keras file from a session on this backend, and keep the codes that the model gives in it."""
    import keras

    import scbch_keras.methods.scbch  # noqa: F401 - registers its classes
    from scbch_keras import export

    model = keras.saving.load_model(trained, compile=False)
    export.release(model, folder, text=PIPELINE, version=1)
    x = inputs()
    x["strings"] = PIPELINE(x["strings"])
    np.savez(
        folder / "model.npz",
        **{
            f"{kind}_{name}": getattr(model, f"encode_{'image' if kind == 'image' else 'text'}")(
                x[kind], packed=name == "packed_codes", verbose=0
            )
            for kind in KINDS
            for name in ("packed_codes", "codes")
        },
    )


def from_npz(path: Path) -> Codes:
    with np.load(path) as file:
        return {kind: (file[f"{kind}_packed_codes"], file[f"{kind}_codes"]) for kind in KINDS}


def hash_encoder(folder: Path, x: dict[str, np.ndarray]) -> Codes:
    from scbch_keras.export import HashEncoder

    encoder = HashEncoder(folder)
    calls = {"image": encoder.image, "text": encoder.text, "strings": encoder.text}
    return {kind: (call(x[kind]), call(x[kind], packed=False)) for kind, call in calls.items()}


def onnx_files(folder: Path, x: dict[str, np.ndarray]) -> Iterator[tuple[str, str, dict[str, np.ndarray]]]:
    yield "image", str(folder / "image.onnx"), {"image": x["image"]}
    yield "text", str(folder / "text.onnx"), {"text": x["text"]}
    yield "strings", str(folder / "text_raw.onnx"), {"text": PIPELINE.normalize(x["strings"])}


def onnxruntime(folder: Path, x: dict[str, np.ndarray]) -> Codes:
    import onnxruntime as runtime

    return {
        kind: tuple(runtime.InferenceSession(file).run(["packed_codes", "codes"], feed))
        for kind, file, feed in onnx_files(folder, x)
    }


def onnx_reference(folder: Path, x: dict[str, np.ndarray]) -> Codes:
    from onnx.reference import ReferenceEvaluator

    return {
        kind: tuple(ReferenceEvaluator(file).run(["packed_codes", "codes"], feed))
        for kind, file, feed in onnx_files(folder, x)
    }


def tensorflow(folder: Path, x: dict[str, np.ndarray]) -> Codes:
    with tempfile.TemporaryDirectory() as exchange:
        given, result = Path(exchange, "inputs.npz"), Path(exchange, "codes.npz")
        np.savez(given, **{**x, "strings": np.char.encode(x["strings"], "utf-8")})
        run([sys.executable, "-c", TENSORFLOW, str(folder), str(given), str(result)])
        return from_npz(result)


def node(modules: Path) -> Callable[[Path, dict[str, np.ndarray]], Codes]:
    script = Path(__file__).with_name("readers.cjs")

    def read(folder: Path, x: dict[str, np.ndarray]) -> Codes:
        with tempfile.TemporaryDirectory() as name:
            exchange = Path(name)
            for kind in ("image", "text"):
                x[kind].tofile(exchange / f"{kind}.f32")
            (exchange / "sizes.json").write_text(json.dumps({kind: len(x[kind]) for kind in KINDS}))
            (exchange / "strings.json").write_text(json.dumps(PIPELINE.normalize(x["strings"]).tolist()))
            run(["node", str(script), str(folder), name], NODE_PATH=str(modules))
            return {
                kind: (
                    np.fromfile(exchange / f"{kind}.packed", np.uint8).reshape(-1, -(-BITS // 8)),
                    np.fromfile(exchange / f"{kind}.codes", np.float32).reshape(-1, BITS),
                )
                for kind in KINDS
            }

    return read


def run(command: list[str], **environment: str) -> None:
    done = subprocess.run(  # noqa: S603
        command,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{command[:4]} failed:\n{done.stderr[-3000:]}")


def step(backend: str, name: str, *paths: Path) -> None:
    run([sys.executable, "-m", "benchmarks.readers", name, *map(str, paths)], KERAS_BACKEND=backend)


def compare(title: str, came: Codes, wanted: Codes) -> int:
    """Print a row; the number of bits that differ although their code is not near zero."""
    compared = near = different = wrong = 0
    largest = largest_flipped = 0.0
    for kind in KINDS:
        packed, codes = came[kind]
        bits, expected = np.unpackbits(packed, axis=1, count=BITS), wanted[kind][1]
        flipped = bits != (expected > 0)
        close = np.abs(expected) <= NEAR_ZERO
        compared, near = compared + bits.size, near + int(close.sum())
        different, wrong = different + int(flipped.sum()), wrong + int((flipped & ~close).sum())
        largest = max(largest, float(np.abs(codes - expected).max()))
        largest_flipped = max(largest_flipped, float(np.abs(expected[flipped]).max(initial=0)))
    print(
        f"| {title} | {compared} | {near} | {different} | {largest:.1e} | {largest_flipped:.1e} |", flush=True
    )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--node-modules", type=Path, help=f"a folder with {NODE_PACKAGE}; else npm installs it"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        modules = arguments.node_modules
        if modules is None:
            # Its scripts would download CUDA libraries.
            run(["npm", "install", "--ignore-scripts", "--prefix", name, NODE_PACKAGE])
            modules = folder / "node_modules"
        readers: dict[str, Any] = {
            "HashEncoder": hash_encoder,
            "onnxruntime": onnxruntime,
            "onnx.reference": onnx_reference,
            "onnxruntime-node": node(modules.resolve()),
            "TensorFlow": tensorflow,
        }
        x = inputs()
        for backend in BACKENDS:
            step(backend, "train", folder / "start.keras", folder / f"{backend}.keras")
        wrong = 0
        for same_file in (True, False):
            told = f"trained on {BACKENDS[0]}, released from each" if same_file else "trained on each"
            print(
                f"\n| {told}: reader | bits | near zero | different | codes differ by | largest code flipped |"
            )
            print("| --- | --- | --- | --- | --- | --- |")
            wanted: Codes = {}
            for backend in BACKENDS:
                trained = folder / f"{BACKENDS[0] if same_file else backend}.keras"
                released = folder / f"{trained.stem}-{backend}"
                if not released.exists():
                    step(backend, "release", trained, released)
                model = from_npz(released / "model.npz")
                wanted = wanted or model
                found = compare(f"{backend}: Keras", model, wanted)
                for reader, read in readers.items():
                    found += compare(f"{backend}: {reader}", read(released / "1", x), wanted)
                wrong += found if same_file else 0
    if wrong:
        raise SystemExit(f"{wrong} bits of one model differ although their codes are not near zero")


if __name__ == "__main__":
    steps = {"train": train, "release": release}
    if sys.argv[1:2] and sys.argv[1] in steps:
        steps[sys.argv[1]](*map(Path, sys.argv[2:]))
    else:
        main()
