"""Codes made on a GPU beside the processor's, on every backend and in onnxruntime: `python -m benchmarks.gpu`.

One model with random weights is saved on the processor, and released for onnxruntime; each installed backend, and
onnxruntime with CUDAExecutionProvider, then encodes the same features on the GPU. Printed: bits that differ, the
largest difference of a continuous code, and rows a second. Ends with 1 if a bit differs whose code is further than
`--tolerance` from 0 on the processor, and with 2, saying what each found, if there is no GPU at all.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BACKENDS = ("tensorflow", "jax", "torch")
BITS, IMAGE, TEXT, WIDTH, ROWS = 64, 4096, 1386, 4096, 4096
MODALITIES = ("image", "text")


def features() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((ROWS, IMAGE), np.float32),
        "text": (rng.random((ROWS, TEXT)) < 0.01).astype(np.float32),
    }


def encoded(encode: Callable[[str, np.ndarray], np.ndarray], out: Path) -> dict[str, Any]:
    """Write the continuous codes of both modalities; rows a second, the first pass left out."""
    sets = features()
    codes = {name: encode(name, values) for name, values in sets.items()}
    start = time.perf_counter()
    for name, values in sets.items():
        encode(name, values)
    np.savez(out, **codes)
    return {"rows": len(MODALITIES) * ROWS / (time.perf_counter() - start)}


def make(folder: Path) -> None:
    """Model and the processor's codes, in a process that sees no GPU."""
    import keras

    import scbch_keras as sk

    keras.utils.set_random_seed(0)
    branches = {
        "image_branch": sk.HashBranch(BITS, (WIDTH, WIDTH), name="image_branch"),
        "text_branch": sk.HashBranch(BITS, (WIDTH,), name="text_branch"),
    }
    model = sk.SCBCH(BITS, num_classes=24, **branches)
    model.build({"image": (None, IMAGE), "text": (None, TEXT)})
    model.save(folder / "model.keras")
    encoded(by_model(model), folder / "processor.npz")


def make_release(folder: Path) -> None:
    """ONNX files of the model, which need the extra export."""
    import keras

    import scbch_keras  # noqa: F401
    from scbch_keras.export import release

    release(keras.models.load_model(folder / "model.keras"), folder / "releases", ("onnx",))


def by_model(model: Any) -> Callable[[str, np.ndarray], np.ndarray]:
    return lambda name, values: getattr(model, f"encode_{name}")(values, packed=False, verbose=0)


def missing_gpu(name: str) -> str | None:
    """Why this backend, or onnxruntime, computes on no GPU here; None if it does."""
    if name != "onnxruntime":
        from scbch_keras import backend

        return None if backend.has_accelerator() else "finds no GPU"
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return None
    return "has no CUDAExecutionProvider; that of the extra onnx-gpu, installed without onnx, has it"


def on_gpu(name: str, folder: Path) -> dict[str, Any]:
    """Encode on the GPU of this process."""
    out = folder / f"{name}.npz"
    if name == "onnxruntime":
        from scbch_keras.export import HashEncoder

        encoder = HashEncoder(folder / "releases" / "latest", providers=("CUDAExecutionProvider",))
        return encoded(lambda modality, values: getattr(encoder, modality)(values, packed=False), out)
    import keras

    import scbch_keras  # noqa: F401

    return encoded(by_model(keras.models.load_model(folder / "model.keras")), out)


def child(task: str, name: str, folder: Path, gpu: bool = True) -> Any:
    """What a task prints in a process with this backend, and without a GPU if `gpu` is not set."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if name in BACKENDS:
        env["KERAS_BACKEND"] = name
    if not gpu:
        env |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "benchmarks.gpu", "--task", task, "--on", name, "--folder", str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{task} on {name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def differences(processor: Path, other: Path, tolerance: float) -> tuple[int, int, int, float]:
    """Bits, bits that differ, those of them further from zero than `tolerance`, the largest difference of a code."""
    with np.load(processor) as expected, np.load(other) as codes:
        pairs = [(expected[name], codes[name]) for name in MODALITIES]
    differ = [(one > 0) != (two > 0) for one, two in pairs]
    far = sum(
        int((bits & (abs(one) > tolerance)).sum()) for bits, (one, _) in zip(differ, pairs, strict=True)
    )
    largest = max(float(abs(one - two).max()) for one, two in pairs)
    return sum(bits.size for bits in differ), sum(int(bits.sum()) for bits in differ), far, largest


def compare(folder: Path, tolerance: float) -> int:
    """Compare what there is; the exit status."""
    backends = [name for name in BACKENDS if importlib.util.find_spec(name)]
    reasons = {name: child("look", name, folder) for name in (*backends, "onnxruntime")}
    for name, reason in reasons.items():
        if reason:
            print(f"{name} {reason}", file=sys.stderr)
    usable = [name for name, reason in reasons.items() if not reason]
    if not usable:
        print("No GPU: nothing was compared.", file=sys.stderr)
        return 2
    child("make", backends[0], folder, gpu=False)
    if "onnxruntime" in usable:
        child("release", backends[0], folder, gpu=False)
    wrong = 0
    for name in usable:
        rate = child("encode", name, folder)["rows"]
        bits, differ, far, largest = differences(folder / "processor.npz", folder / f"{name}.npz", tolerance)
        wrong += far
        print(
            f"{name}: {differ} of {bits:,} bits differ, {far} of them not near zero; codes by at most {largest:.1e}; "
            f"{rate:,.0f} rows a second"
        )
    return int(wrong > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--tolerance", type=float, default=1e-3, help="how near zero a code is whose bit may differ"
    )
    for hidden in ("--task", "--on", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task is None:
        with tempfile.TemporaryDirectory() as folder:
            sys.exit(compare(Path(folder), args.tolerance))
    folder = Path(args.folder)
    result: Any = None
    if args.task == "look":
        result = missing_gpu(args.on)
    elif args.task == "make":
        make(folder)
    elif args.task == "release":
        make_release(folder)
    else:
        result = on_gpu(args.on, folder)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
