"""What int8 and fp16 cost in retrieval, on 724 real MIRFlickr pairs: `python -m benchmarks.quantize`.

The training of `benchmarks.subset_724`, released as ONNX with both precisions: mAP@all of the 124 queries against the
600 of the database, and the share of changed bits on all 724 pairs, as the manifest says.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.subset_724 import fitted
from scbch_keras.export import Evaluation, release
from scbch_keras.export.format.manifest import PRECISIONS, onnx_form
from scbch_keras.modalities import MODALITIES
from scbch_keras.training.data.benchmarks.sets import load_benchmark


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
            manifest = release(
                model, folder, ("onnx",), name="subset", quantize=PRECISIONS[1:], evaluation=evaluation
            ).manifest
        print(f"seed {seed}, label noise {arguments.rate}")
        for precision in PRECISIONS:
            form = onnx_form(precision)
            score = manifest["evaluation"]["map"][form]
            told = f"  {precision:<8} mAP {100 * score['i2t']:.2f} image to text, "
            told += f"{100 * score['t2i']:.2f} text to image"
            if precision != "float32":
                entries = {modality: manifest["encoders"][modality][form] for modality in MODALITIES}
                told += f", {entries['image']['map_loss']:+.2f} points lost"
                for modality, entry in entries.items():
                    told += f", {entry['changed_bits']:.2%} of {modality} bits changed"
            print(told, flush=True)


if __name__ == "__main__":
    main()
