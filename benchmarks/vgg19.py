"""A release that takes pictures at the paper's sizes: `python -m benchmarks.vgg19`.

VGG19's fc2 (224 x 224 pictures, random weights) before the paper's image branch (4096-8192-8192-64): seconds, file
sizes and peak memory (this process, and the largest of its children) of the verified release, and seconds a picture of
`HashEncoder.image`, JPEG files in.
"""

import argparse
import io
import tempfile
import time

import keras
import numpy as np
from PIL import Image

from benchmarks.export import measure_release
from scbch_keras import SCBCH
from scbch_keras.export import HashEncoder, release
from scbch_keras.training.features.images import image_backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=16)
    count = parser.parse_args().pictures
    with tempfile.TemporaryDirectory() as folder:
        measure_vgg19(folder)
        measure_encoder(folder, count)


def measure_vgg19(folder: str) -> None:
    keras.utils.set_random_seed(0)
    pipeline = image_backbone("vgg19", "random").pipeline()
    model = SCBCH(bits=64, num_classes=24)
    model.build({"image": (None, pipeline.dimensions), "text": (None, 1386)})
    measure_release(lambda: release(model, folder, image=pipeline))


def measure_encoder(folder: str, count: int) -> None:
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        file = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        coarse.resize((500, 375)).save(file, "JPEG")
        pictures.append(file.getvalue())
    encoder = HashEncoder(f"{folder}/latest", modalities=["image"])
    start = time.perf_counter()
    encoder.image(pictures[:1])
    print(f"the first picture, image_raw.onnx opened: {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    encoder.image(pictures)
    print(f"{count} JPEG pictures of 500 x 375: {(time.perf_counter() - start) / count:.2f} s a picture")


if __name__ == "__main__":
    main()
