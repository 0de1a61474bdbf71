"""Features of encoders, from pictures and texts to a release that takes both: the same bits at either end."""

import base64
import json
import pickle
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from scbch_keras.export import HashEncoder, ImageEncoder, TextEncoder, validate
from scbch_keras.export.format import manifest as manifests
from scbch_keras.training.cli.main import commands
from scbch_keras.training.data.own.read import read_own
from scbch_keras.training.features import made_by
from scbch_keras.training.features.cache import extract
from scbch_keras.training.runs.open_data import open_data
from scbch_keras.training.runs.recipe import resolve
from scbch_keras.training.runs.release import _servable, release_run
from tests import encoders
from tests.training.runs.small import begin, trained

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="features know no backend, and the release is a child's; on torch",
)
ROWS = 30
COLOURS = {"red": (220, 30, 20), "green": (20, 200, 40), "sea": (20, 60, 230)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table of pictures and texts, and both encoders."""
    root = tmp_path_factory.mktemp("encoded")
    rng = np.random.default_rng(0)
    (root / "data").mkdir()
    lines = ["id,picture,text,labels"]
    for row in range(ROWS):
        name = list(COLOURS)[row % 3]
        pixels = np.clip(np.array(COLOURS[name]) + rng.integers(-30, 30, (20, 16, 3)), 0, 255)
        Image.fromarray(pixels.astype("uint8")).save(root / f"data/{row}.png")
        lines.append(f"p{row},{row}.png,the {name} {'mug' if row % 2 else 'dog'},{name}")
    (root / "data/table.csv").write_text("\n".join(lines))
    encoders.text_encoder(root / "text")
    encoders.image_encoder(root / "image")
    return root


def command(*arguments):
    result = CliRunner().invoke(commands(), [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


@pytest.fixture(scope="module")
def features(folder):
    """The file that `scbch features` makes."""
    out = folder / "features.h5"
    chosen = ("--image-features", folder / "image", "--text-features", folder / "text")
    command("features", folder / "data", "--out", out, *chosen)
    return out


@pytest.fixture(scope="module")
def release(folder, features):
    run = begin(features, folder / "run", epochs=1, noise=0.0, variant="posterior")
    trained(run)
    return release_run(run.path, folder / "release", formats=("onnx",)).path


def test_extracted_features_are_the_bits_that_the_release_makes(folder, features, release):
    own, made = read_own(folder / "data"), read_own(features)
    encoder = HashEncoder(release)
    np.testing.assert_array_equal(encoder._pipeline(list(own.texts)), made.text)
    np.testing.assert_array_equal(TextEncoder.open(folder / "text")(own.texts), made.text)
    np.testing.assert_array_equal(ImageEncoder.open(folder / "image")(list(own.pictures)), made.image)
    np.testing.assert_array_equal(encoder.text(list(own.texts)), encoder.text(made.text))
    np.testing.assert_array_equal(encoder.image(list(own.pictures)), encoder.image(made.image))
    assert encoder.text("a red mug").shape == (1, 2)
    assert encoder.text([]).shape == encoder.image([]).shape == (0, 2)
    assert encoder.picture_size == (12, 8)
    assert encoder.known_words(["a red mug", "zebra"]).tolist() == [3, 0]
    assert encoder.unknown_words(["red zebra"]) == [["zebra"]]
    again = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(again.text(list(own.texts)), encoder.text(list(own.texts)))


def test_the_release_holds_the_encoders_whole_and_checks_them(folder, release, tmp_path):
    manifest = manifests.read(release)
    files = manifest["files"]
    for name, source in (
        ("text_encoder.onnx", "text/model.onnx"),
        ("text_tokenizer.json", "text/tokenizer.json"),
        ("image_encoder.onnx", "image/model.onnx"),
    ):
        assert (release / name).read_bytes() == (folder / source).read_bytes()
        assert name in files
    described = manifest["encoders"]["text_encoder"]["pipeline"]
    assert (described["pooling"], described["normalize"], described["max_tokens"]) == ("mean", False, 8)
    assert manifest["encoders"]["image_encoder"]["pipeline"]["mean"] == [0.5, 0.4, 0.3]
    compared = manifest["verification"]["encoders"]
    assert {"HashEncoder of strings", "HashEncoder of pictures"} <= compared.keys()
    for name, use in (
        ("text_tokenizer.json", "text"),
        ("text_encoder.onnx", "text"),
        ("image_encoder.onnx", "image"),
    ):
        copy = tmp_path / name / "1"
        shutil.copytree(release, copy)
        (copy / name).write_bytes((copy / name).read_bytes()[:-1] + b" ")
        with pytest.raises(ValueError, match=f"{name} is not the file that was released: its sha256"):
            getattr(HashEncoder(copy), use)(["a"] if use == "text" else [np.zeros((9, 9, 3), np.uint8)])


@pytest.mark.slow
def test_a_release_with_encoders_is_validated_again(release, tmp_path):
    shutil.copytree(release, tmp_path / "release/1")
    assert validate(tmp_path / "release/1").blessed


@pytest.mark.parametrize("absent", ["tokenizers", "keras"])
def test_serving_needs_onnxruntime_and_tokenizers_alone(release, absent):
    program = (
        f"import sys, numpy as np\nfor name in ({absent!r}, 'keras', 'torch', 'tensorflow', 'h5py', 'onnx'):\n"
        "    sys.modules[name] = None\n"
        "from scbch_keras.export import HashEncoder\n"
        f"encoder = HashEncoder({str(release)!r})\n"
        "print(encoder.text(np.zeros((1, 6), np.float32)).shape, flush=True)\n"
        "print(encoder.text('a red mug').shape)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if absent == "tokenizers":
        assert (run.returncode, run.stdout.strip()) == (1, "(1, 2)")
        assert "pip install 'scbch_keras[encoders]'" in run.stderr
    else:
        assert (run.returncode, run.stdout.split("\n")[1]) == (0, "(1, 2)"), run.stderr


def test_without_onnx_a_run_is_released_without_its_encoders_and_says_so(folder):
    for encoder in (TextEncoder.open(folder / "text"), ImageEncoder.open(folder / "image")):
        assert _servable(encoder, ("saved_model", "onnx")) is encoder
        with pytest.warns(UserWarning, match=r"takes features alone: .*model\.onnx is run by HashEncoder"):
            assert _servable(encoder, ("saved_model",)) is None


def test_the_service_takes_strings_and_pictures(folder, release):
    application = pytest.importorskip("scbch_keras.export.service.application").application
    client = pytest.importorskip("fastapi.testclient").TestClient
    encoder, picture = HashEncoder(release), folder / "data/0.png"
    with client(application(release)) as service:
        answer = service.post("/encode", json={"texts": ["a red mug", "zebra"]}).json()
        assert answer["codes"] == [code.tobytes().hex() for code in encoder.text(["a red mug", "zebra"])]
        assert (answer["known_words"], answer["unknown_words"]) == ([3, 0], [[], ["zebra"]])
        long = ["the sea " * 2000] * 30  # read in the process of large bodies
        assert service.post("/encode", json={"texts": long}).json()["known_words"] == [2] * 30
        body = {"pictures": [base64.b64encode(picture.read_bytes()).decode()]}
        (code,) = service.post("/encode", json=body).json()["codes"]
        assert code == encoder.image([picture])[0].tobytes().hex()


def test_a_run_on_pictures_and_texts_keeps_its_encoders(folder, features, tmp_path):
    settings = {"image_features": str(folder / "image"), "text_features": str(folder / "text")}
    recipe = resolve(data=str(folder / "data"), backend="torch", neighbors=10, **settings)
    data, made = open_data(recipe, tmp_path), read_own(features)
    order = [made.ids.tolist().index(name) for name in data.database.ids.tolist()]
    np.testing.assert_array_equal(data.database.text, made.text[order])
    np.testing.assert_array_equal(data.database.image, made.image[order])
    kept = json.loads((tmp_path / "text-encoder.json").read_text())
    assert kept == json.loads(json.dumps(TextEncoder.open(folder / "text").config()))
    found = command("describe", folder / "data", "--text-features", folder / "text", "--set", "neighbors=10")
    assert "Nothing stands in the way" in found
    missing = CliRunner().invoke(commands(), ["describe", str(folder / "data"), "--text-features", "no/such"])
    assert missing.exit_code == 1
    assert "the folder of an encoder" in " ".join(missing.output.split())


def test_texts_are_extracted_on_from_where_it_was_interrupted(folder, tmp_path):
    encoder, texts = TextEncoder.open(folder / "text"), [f"the sea {'red ' * n}" for n in range(6)]

    class Interrupted(TextEncoder):
        def __call__(self, batch):
            if texts[4] in batch:
                raise KeyboardInterrupt
            return super().__call__(batch)

    with pytest.raises(KeyboardInterrupt):
        extract(texts, Interrupted.open(folder / "text"), tmp_path / "t.h5", batch_size=2)
    counted = []
    original, encoder._rows = encoder._rows, lambda tokens: counted.extend(tokens) or original(tokens)
    np.testing.assert_array_equal(extract(texts, encoder, tmp_path / "t.h5", batch_size=2), encoder(texts))
    assert len(counted) == 2 + 6


def test_a_file_of_features_names_encoders_alone_and_a_damaged_record_is_refused(features, tmp_path):
    import h5py

    assert {modality: config["kind"] for modality, config in made_by.recorded(features).items()} == {
        "image": "onnx",
        "text": "text encoder",
    }
    with h5py.File(tmp_path / "other.h5", "w") as file:
        made_by.record(file, {"kind": "keras-hub:vit", "path": "x"}, {"kind": "bow"})
    assert made_by.recorded(tmp_path / "other.h5") == {}
    with h5py.File(tmp_path / "other.h5", "a") as file:
        file.attrs["made_by"] = "{"
    with pytest.raises(ValueError, match="the record of what made its features is damaged"):
        made_by.recorded(tmp_path / "other.h5")
