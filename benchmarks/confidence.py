"""Seconds and memory of the confidence pass over a training set, beside the plain N x N way.

    KERAS_BACKEND=torch python -m benchmarks.confidence [--samples 10000] [--bits 64]

The peer computes the same weights in NumPy with the whole N x N similarity in memory. The floor is the one product
of the codes, 4 N^2 bits FLOP, at the sgemm rate of the same process. Memory is the growth of the process' peak.
"""

import argparse
import resource
import time

import numpy as np

from benchmarks.train_step import sgemm_rate


def plain(image, text, labels, k=20, gamma=0.5):
    similarity = (image @ image.T + text @ text.T) / 2
    np.fill_diagonal(similarity, 0)
    near = np.argpartition(similarity, -k, axis=1)[:, -k:]
    score = np.take_along_axis(similarity, near, axis=1)
    soft = np.einsum("nk,nkc->nc", score, labels[near]) / (score.sum(axis=1, keepdims=True) + 1e-8)
    norms = np.linalg.norm(labels, axis=1) * np.linalg.norm(soft, axis=1)
    return gamma + (1 - gamma) * (labels * soft).sum(axis=1) / np.maximum(norms, 1e-8)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--bits", type=int, default=64)
    args = parser.parse_args()
    import keras

    from scbch_keras import confidence_weights

    rng = np.random.default_rng(0)
    codes = [rng.standard_normal((args.samples, args.bits), "float32") for _ in range(2)]
    codes = [code / np.linalg.norm(code, axis=1, keepdims=True) for code in codes]
    labels = (rng.random((args.samples, 24)) < 0.08).astype("float32")
    confidence_weights(*(code[:2048] for code in codes), labels[:2048])  # compile and warm up

    rate = sgemm_rate()
    floor = 4 * args.samples**2 * args.bits / rate
    seconds, memory, results = {}, {}, {}
    # ours first: the peak of a process never falls
    for name, function in (("blocks", lambda *x: confidence_weights(*x).weights), ("N x N", plain)):
        before = peak()
        times = []
        for _ in range(3):
            start = time.perf_counter()
            results[name] = function(*codes, labels)
            times.append(time.perf_counter() - start)
        seconds[name], memory[name] = min(times), peak() - before
    difference = np.abs(results["blocks"] - results["N x N"]).max()
    print(
        f"{args.samples} samples, {args.bits} bits, {keras.backend.backend()}, sgemm {rate / 1e9:.0f} GFLOP/s"
    )
    for name in seconds:
        print(
            f"{name:8}{seconds[name]:8.2f} s{seconds[name] / floor:8.1f} of the floor"
            f"{memory[name] / 2**20:8.0f} MiB more at the peak"
        )
    print(
        f"ratio {seconds['blocks'] / seconds['N x N']:.2f}, largest difference of a weight {difference:.1e}"
    )


if __name__ == "__main__":
    main()
