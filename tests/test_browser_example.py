"""examples/browser in Chromium: codes of strings and picture files, and the page's search, are those of HashEncoder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scbch_keras.export import HammingIndex, HashEncoder, encode_file
from scbch_keras.export.format import layouts
from tests.servers import onnxruntime_web, page_result
from tests.test_before_rooms import RELEASE

pytestmark = [pytest.mark.numpy_only, pytest.mark.slow, pytest.mark.waits]

EXAMPLE = Path(__file__).parents[1] / "examples" / "browser"
PAGE = """<!doctype html><meta charset="utf-8"><iframe src="index.html?words=sea+zebra"></iframe>
<script type="module">
import * as ort from "./ort/ort.wasm.min.mjs";
import { openRelease } from "./codes.js";
const post = (answer) => fetch("/answer", { method: "POST", body: JSON.stringify(answer) });
const tried = (work) => work().then((code) => Array.from(code), (error) => error.message);
try {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./ort/", location.href).href;
  const release = await openRelease(ort, new URL("release/", location.href).href);
  const { strings, files } = await (await fetch("inputs.json")).json();
  const text = [], picture = {};
  for (const string of strings) text.push(await tried(() => release.text(string)));
  for (const file of files) picture[file] = await tried(async () => release.picture(await (await fetch(file)).blob()));
  const { contentDocument } = document.querySelector("iframe");
  const results = () => Array.from(contentDocument.querySelectorAll("#results span"), (span) => span.textContent);
  for (let turn = 0; turn < 600 && !results().length; turn++) await new Promise((resolve) => setTimeout(resolve, 50));
  await post({ text, picture, results: results(), status: contentDocument.querySelector("#status").textContent });
} catch (error) {
  await post({ error: String(error.stack) });
}
</script>"""
STRINGS = ["the sea", "Sea NIGHT", "sea", "zebra"]


def files(folder):
    """Pictures that are read, by name, and those that are refused, with a word of the reason."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (23, 31, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(noise[:4, :4]).resize((47, 29)))
    read = []
    for name, pixels, settings in (
        ("noise.png", noise, {}),
        ("smooth.png", smooth, {}),
        ("grey.png", smooth[..., 0], {}),
        ("smooth.jpg", smooth, {"quality": 80}),
        ("noise.jpg", noise, {"quality": 95, "subsampling": 0}),
        ("grey.jpg", smooth[..., 0], {}),
        ("progressive.jpg", smooth, {"progressive": True}),
        ("lossless.webp", noise, {"lossless": True}),
        ("smooth.webp", smooth, {"quality": 70}),
    ):
        Image.fromarray(pixels).save(folder / name, **settings)
        read.append(name)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(smooth).save(folder / "turned.jpg", exif=exif)
    read.append("turned.jpg")
    layer = np.dstack([noise, np.full(noise.shape[:2], 128, np.uint8)])
    Image.fromarray(layer).save(folder / "layer.png")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(smooth).convert("CMYK").save(folder / "print.jpg")
    Image.fromarray(smooth).save(folder / "old.bmp")
    (folder / "words.png").write_bytes(b"no picture")
    refused = {
        "layer.png": "transparency",
        "deep.png": "16",
        "print.jpg": "CMYK",
        "old.bmp": "PNG, JPEG or WebP",
    }
    return read, {**refused, "words.png": "PNG, JPEG or WebP"}


def test_strings_and_pictures_get_the_codes_of_python_and_the_page_finds_its_results(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "ort").symlink_to(onnxruntime_web())
    shutil.copytree(RELEASE, tmp_path / "release")
    shutil.copy(Path(layouts.__file__).with_name("scbch.js"), tmp_path / "release")
    read, refused = files(tmp_path)
    (tmp_path / "inputs.json").write_text(json.dumps({"strings": STRINGS, "files": [*read, *refused]}))
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    encoder = HashEncoder(RELEASE)
    pictures = encoder.image([tmp_path / name for name in read])
    encode_file(encoder, "image", [([tmp_path / name for name in read], read)], tmp_path / "codes.npy")

    result = page_result(tmp_path, "page.html")

    assert "error" not in result, result
    assert result["text"][:-1] == encoder.text(STRINGS[:-1]).tolist()
    assert result["text"][-1] == 'The model knows no word of "zebra".'
    assert {name: result["picture"][name] for name in read} == dict(zip(read, pictures.tolist(), strict=True))
    assert all(word in result["picture"][name] for name, word in refused.items())
    index = HammingIndex(encoder.bits)
    index.add(pictures)
    rows, distances = index.search(encoder.text(["sea zebra"]), len(read))
    assert result["results"] == [
        f"{read[row]}: {distance} bits" for row, distance in zip(rows[0], distances[0], strict=True)
    ]
    assert "zebra, which the model does not know" in result["status"]
