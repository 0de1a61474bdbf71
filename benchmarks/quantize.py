"""What int8 and fp16 cost in retrieval, on 724 real MIRFlickr pairs: `python -m benchmarks.quantize`.

The training of `benchmarks.subset_724` with one seed, released as ONNX with both precisions: mAP@all of the 124
queries against the 600 of the database, and the share of changed bits on all 724 pairs, through `HashEncoder`.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.subset_724 import fitted
from scbch_keras.export import HashEncoder, release
from scbch_keras.export.evaluation import Evaluation
from scbch_keras.export.manifest import PRECISIONS
from scbch_keras.export.precision import losses
from scbch_keras.training.data.benchmarks import load_benchmark


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/reference/mirflickr"))
    parser.add_argument("--rate", type=float, default=0.5, help="label noise of the training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        data = load_benchmark("mirflickr-subset", arguments.data, arguments.rate, seed)
        evaluation = Evaluation.of(*((part.inputs, part.labels) for part in (data.query, data.database)))
        model = fitted(seed, data.train.inputs, data.train.labels)
        with tempfile.TemporaryDirectory() as folder:
            released = release(model, folder, formats=("onnx",), quantize=PRECISIONS[1:])
            lost = losses(released.path, released.manifest, {}, evaluation)
            print(f"seed {seed}, label noise {arguments.rate}")
            for precision in PRECISIONS:
                encoder = HashEncoder(released.path, precision=precision)
                score = evaluation.score(
                    lambda name, x, encoder=encoder: getattr(encoder, name)(x.astype("float32")), encoder.bits
                )
                print(
                    f"  {precision:<8} mAP {100 * score.i2t:6.2f} image to text, {100 * score.t2i:6.2f}",
                    end="",
                )
                print(" text to image", end="")
                for name, loss in lost.get(precision, {}).items():
                    print(f", {loss['changed_bits']:.2%} of {name} bits changed", end="")
                print(flush=True)


if __name__ == "__main__":
    main()
