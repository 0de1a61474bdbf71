"""HashEncoder: opens what was released and nothing else, and refuses inputs it was not made for."""

import hashlib
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.small_release import sign_graph
from scbch_keras.codes import pack_codes
from scbch_keras.export import HashEncoder, TextPipeline
from scbch_keras.export.format import manifest as manifests

pytestmark = pytest.mark.numpy_only

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
Image = pytest.importorskip("PIL.Image")

BITS, WIDTH = 12, 12
SHAPES: dict[str, list] = {"image": [None, 4, 3, 1], "text": [None, 6]}
WEIGHTS = {
    name: np.random.default_rng(seed).standard_normal((int(np.prod(shape[1:])), BITS)).astype(np.float32)
    for seed, (name, shape) in enumerate(SHAPES.items())
}


def codes_of(name, features):
    return np.tanh(features.reshape(len(features), -1).astype(np.float32) @ WEIGHTS[name])


def encoder_graph(name, bits=BITS):
    """A linear encoder, written by hand."""
    return sign_graph(name, "FLOAT", ["batch", *SHAPES[name][1:]], WEIGHTS[name][:, :bits])


@pytest.fixture
def folder(tmp_path):
    """A release folder as `release` lays it out, around the hand-written encoders."""
    version = tmp_path / "releases" / "1"
    version.mkdir(parents=True)
    for name in SHAPES:
        onnx.save(encoder_graph(name), version / f"{name}.onnx")
    manifests.write(
        version,
        {
            "schema": manifests.SCHEMA,
            "bits": BITS,
            "formats": ["onnx"],
            "signatures": {
                f"encode_{name}": manifests.signature(name, shape, BITS) for name, shape in SHAPES.items()
            },
            "encoders": {name: {"onnx": {"path": f"{name}.onnx"}} for name in SHAPES},
            "files": manifests.describe_files(version),
        },
    )
    return version


def with_pictures(folder):
    """The release, taking pictures too, which become 3 x 4 pixels."""
    from tests.export import picture_release

    return picture_release.with_pictures(folder)


def edit(folder, change):
    manifest = json.loads((folder / manifests.NAME).read_text())
    change(manifest)
    manifests.write(folder, manifest)


def features(name, rows, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, *SHAPES[name][1:])).astype(np.float32)


@pytest.mark.parametrize("name", SHAPES)
def test_codes_are_the_networks_whatever_the_batch_size(folder, name):
    encode = getattr(HashEncoder(folder), name)
    x = features(name, 50)
    expected = codes_of(name, x)
    for batch_size in (1, 7, 50, 1024):
        codes = encode(x, batch_size=batch_size, packed=False)
        np.testing.assert_allclose(codes, expected, atol=1e-5)
        assert codes.dtype == np.float32
        packed = encode(x, batch_size=batch_size)
        assert packed.dtype == np.uint8
        np.testing.assert_array_equal(packed, pack_codes(codes))


def test_no_rows_give_no_codes(folder):
    encoder = HashEncoder(folder)
    assert encoder.bits == BITS
    assert encoder.text(features("text", 0)).shape == (0, 2)
    assert encoder.image(features("image", 0), packed=False).shape == (0, BITS)


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float64", "longdouble", ">f4", ">i4", "uint8", "int8", "uint16", "int64", "uint64", "bool"],
)
def test_real_numbers_of_any_type_are_taken(folder, dtype):
    x = (3 * np.abs(features("text", 20))).astype(dtype)
    np.testing.assert_allclose(HashEncoder(folder).text(x, packed=False), codes_of("text", x), atol=1e-5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1e39, "finite as float32; row 1 holds 1e"),
        (np.nan, "finite; row 1 holds NaN"),
        (2**40, "int32 can hold; row 1"),
    ],
)
def test_what_float32_cannot_hold_is_refused_by_row(folder, value, message):
    x = np.ones((3, 6), np.asarray(value).dtype)
    x[1, 4] = value
    with pytest.raises(ValueError, match=f"text features must .*{message}"):
        HashEncoder(folder).text(x, batch_size=1)


@pytest.mark.parametrize("value", [[["a"] * 6], [[None] * 6], np.ones((2, 6), complex)])
def test_what_is_no_real_number_is_refused(folder, value):
    with pytest.raises(ValueError, match="text features must hold real numbers; got dtype"):
        HashEncoder(folder).text(value)


PIPELINE = TextPipeline(["a", "dog", "on", "the", "beach", "straße".casefold()], "counts")


def add_pipeline(folder, pipeline=PIPELINE):
    """Let the release take strings."""
    pipeline.save(folder / manifests.TEXT_PIPELINE)
    entry = {"pipeline": {"path": manifests.TEXT_PIPELINE}}

    def change(manifest):
        manifest["encoders"][manifests.RAW_TEXT] = entry
        manifest["files"] = manifests.describe_files(folder)

    edit(folder, change)


def test_strings_become_the_codes_of_their_features(folder):
    add_pipeline(folder)
    texts = ["a dog", "", "DOG  dog\u3000Straße", "unknown\0on the beach"] * 5
    for encoder in (HashEncoder(folder), HashEncoder(folder, modalities=("text",))):
        for batch_size in (1, 7, 1024):
            for packed in (True, False):
                expected = encoder.text(PIPELINE(texts), packed=packed)
                for form in (texts, tuple(texts), np.array(texts), np.array(texts, object)):
                    codes = encoder.text(form, packed=packed, batch_size=batch_size)
                    np.testing.assert_array_equal(codes, expected, strict=True)
        np.testing.assert_array_equal(encoder.text(texts[0]), encoder.text(texts[:1]), strict=True)
        assert encoder.text([]).shape == (0, 2)
        assert encoder.text(np.array([], "U1"), packed=False).shape == (0, BITS)


def test_the_words_that_the_model_does_not_know_are_named(folder):
    add_pipeline(folder)
    encoder = HashEncoder(folder)
    texts = ["A dog, (DOG) zebra! zebra", "zebra", "", "stra\u00dfe?"]
    assert encoder.takes_strings
    assert encoder.unknown_words(texts) == [["zebra"], ["zebra"], [], []]
    assert encoder.known_words(texts).tolist() == [2, 0, 0, 1]


@pytest.mark.parametrize("texts", [{"a", "dog"}, frozenset(["a"]), {"a": 1}, "a dog"])
def test_words_of_what_has_no_order_are_refused(folder, texts):
    add_pipeline(folder)
    encoder = HashEncoder(folder)
    for act in (encoder.unknown_words, encoder.known_words, TextPipeline):
        with pytest.raises(ValueError, match=f"texts must be a list of strings, got {type(texts).__name__}"):
            act(texts)


def test_words_need_a_text_encoder_that_takes_strings(folder):
    plain = HashEncoder(folder)
    assert not plain.takes_strings
    with pytest.raises(ValueError, match=r"got strings: the release .* takes none"):
        plain.unknown_words(["a"])
    add_pipeline(folder)
    image_only = HashEncoder(folder, modalities=("image",))
    assert not image_only.takes_strings
    for act in (image_only.unknown_words, image_only.known_words):
        with pytest.raises(ValueError, match="opened without modality 'text'"):
            act(["a"])


def test_features_are_taken_beside_strings(folder):
    x = features("text", 9)
    expected = HashEncoder(folder).text(x)
    add_pipeline(folder)
    np.testing.assert_array_equal(HashEncoder(folder).text(x), expected)
    np.testing.assert_array_equal(HashEncoder(folder).text(x.astype("float16").tolist()[:0]), expected[:0])


@pytest.mark.parametrize("texts", [["a dog"], ("a", "b"), np.array(["a"]), np.array(["a"], object), "a dog"])
def test_strings_are_refused_where_the_release_takes_none(folder, texts):
    with pytest.raises(ValueError, match=r"got strings: the release .* takes none.*text=pipeline"):
        HashEncoder(folder).text(texts)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", 3], "texts must be strings, got int at 1"),
        (["a", None], "texts must be strings, got NoneType at 1"),
        (["a"] * 9 + ["\ud800"], r"lone surrogate U\+D800 at 9"),
        (np.array([["a", "b"]]), r"array of shape \(1, 2\)"),
        ([None, "a"], "texts must be strings, got NoneType at 0"),
        ([None], "texts must be strings, got NoneType at 0"),
        ([float("nan"), "a"], "texts must be strings, got float at 0"),
        (np.array([None, "a"], object), "texts must be strings, got NoneType at 0"),
        ([b"a"], "texts must be strings, got bytes at 0"),
        (b"a", "texts must be strings, got bytes at 0"),
        ([Path("a")], "texts must be strings, got PosixPath at 0"),
    ],
)
def test_what_is_no_list_of_strings_is_refused(folder, texts, message):
    add_pipeline(folder)
    with pytest.raises(ValueError, match=message):
        HashEncoder(folder).text(texts, batch_size=4)
    with pytest.raises(ValueError, match="batch_size must be an int of at least 1; got 0"):
        HashEncoder(folder).text(["a"], batch_size=0)


def test_a_column_of_a_table_is_a_list(folder, tmp_path):
    pandas = pytest.importorskip("pandas")
    add_pipeline(folder)
    encoder = HashEncoder(with_pictures(folder))
    expected = encoder.text(["a dog", "the beach"])
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for row, path in enumerate(paths):
        Image.new("RGB", (9, 8), ("red", "blue")[row]).save(path)
    pictures = encoder.image(paths)
    for column in (pandas.Series, pandas.Index, lambda cells: np.array(cells, object), np.array):
        np.testing.assert_array_equal(encoder.text(column(["a dog", "the beach"])), expected)
        np.testing.assert_array_equal(encoder.image(column(list(map(str, paths)))), pictures)
    with pytest.raises(ValueError, match="texts must be strings, got NoneType at 0"):
        encoder.text(pandas.Series([None, "a"], dtype=object))
    with pytest.raises(ValueError, match="text features must hold real numbers"):
        encoder.text(pandas.DataFrame({"a": ["a dog"]}))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda image: image, "got an image of Pillow .*numpy.asarray"),
        (lambda image: image.convert("L").resize((WIDTH, 5)), "got an image of Pillow"),
        (lambda image: [image], "got an image of Pillow .*at 0"),
        (lambda image: [None, "a.png"], "got NoneType at 0"),
        (lambda image: bytearray(b"GIF"), "got bytearray"),
        (lambda image: [memoryview(b"GIF")], "got memoryview .*at 0"),
        (lambda image: [io.BytesIO(b"GIF")], "got BytesIO .*at 0"),
        (lambda image: ["."], "cannot be opened: . must be a plain file, got a folder"),
        (lambda image: ["/dev/zero"], "cannot be opened: /dev/zero must be a plain file, got a device"),
    ],
)
def test_pictures_in_another_form_are_refused_with_the_remedy(folder, form, message):
    with pytest.raises(ValueError, match=f"pictures.* {message}"):
        HashEncoder(with_pictures(folder)).image(form(Image.new("RGB", (9, 8))))


@pytest.mark.parametrize("packed", ["no", None, 1])
def test_packed_is_a_flag(folder, packed):
    with pytest.raises(ValueError, match="packed must be True or False; got"):
        HashEncoder(folder).text(features("text", 1), packed=packed)


@pytest.mark.parametrize(
    "providers", [7, [], "CPUExecutionProvider", [None], [()], [("CPUExecutionProvider",)]]
)
def test_what_names_no_provider_is_refused(folder, providers):
    with pytest.raises(ValueError, match="providers must be"):
        HashEncoder(folder, providers=providers)


def test_a_pipeline_that_is_not_the_released_one_is_refused(folder):
    add_pipeline(folder, TextPipeline(["one", "two"]))
    with pytest.raises(
        ValueError, match=r"text_pipeline\.json has 2 words; the text encoder takes shape \(6,\)"
    ):
        HashEncoder(folder)
    HashEncoder(folder, modalities=("image",))
    add_pipeline(folder)
    (folder / manifests.TEXT_PIPELINE).write_text("{}")
    with pytest.raises(ValueError, match=r"text_pipeline\.json has 2 bytes; the manifest says"):
        HashEncoder(folder)
    edit(folder, lambda manifest: manifest.update(files=manifests.describe_files(folder)))
    with pytest.raises(ValueError, match=r"expected a file of TextPipeline\.save"):
        HashEncoder(folder)
    edit(folder, lambda manifest: manifest["encoders"].update(raw_text={}))
    with pytest.raises(ValueError, match="does not describe its raw_text"):
        HashEncoder(folder)


@pytest.mark.parametrize("shape", [(6,), (2, 5), (2, 7), (2, 6, 1), (), (0, 5)])
def test_another_shape_is_refused(folder, shape):
    with pytest.raises(ValueError, match=r"text features must have shape \(n, 6\); got"):
        HashEncoder(folder).text(np.ones(shape, np.float32))


def test_another_picture_size_is_refused(folder):
    with pytest.raises(ValueError, match=r"image features must have shape \(n, 4, 3, 1\)"):
        HashEncoder(folder).image(np.ones((2, 3, 4, 1), np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_named(folder, bad):
    x = features("image", 30)
    x[[17, 23], 2, 1, 0] = bad
    with pytest.raises(ValueError, match="row 17 "):
        HashEncoder(folder).image(x, batch_size=5)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True])
def test_batch_size_must_be_a_positive_integer(folder, batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        HashEncoder(folder).text(features("text", 3), batch_size=batch_size)


def test_latest_is_followed_once(folder):
    latest = folder.parent / "latest"
    latest.symlink_to("1")
    encoder = HashEncoder(latest)
    assert encoder.path == folder.resolve()


def test_one_modality_can_be_loaded_alone(folder):
    (folder / "image.onnx").unlink()
    encoder = HashEncoder(folder, modalities=("text",))
    assert len(encoder.text(features("text", 3))) == 3
    with pytest.raises(ValueError, match="without modality 'image'"):
        encoder.image(features("image", 3))
    with pytest.raises(FileNotFoundError):
        HashEncoder(folder)
    for wrong in ("text", (), ("sound",)):
        with pytest.raises(ValueError, match="modalities"):
            HashEncoder(folder, modalities=wrong)


def test_the_cpu_is_used_unless_providers_are_given(folder):
    encoder = HashEncoder(folder)
    for modality in encoder._encoders.values():
        assert modality.session.opened().get_providers() == ["CPUExecutionProvider"]
    with pytest.raises(ValueError, match="'TeaLeafExecutionProvider'; this onnxruntime has"):
        HashEncoder(folder, providers=["TeaLeafExecutionProvider"])
    with pytest.raises(ValueError, match="providers"):
        HashEncoder(folder, providers="CPUExecutionProvider")


def test_many_threads_may_share_an_encoder(folder):
    add_pipeline(folder)
    encoder = HashEncoder(folder)
    texts = ["a dog", "", "Straße", "on the beach"] * 10
    calls = [
        call
        for seed in range(32)
        for call in (
            (encoder.image, features("image", 40, seed)),
            (encoder.text, features("text", 40, seed)),
            (encoder.text, texts[seed:] + texts[:seed]),
        )
    ]
    with ThreadPoolExecutor(16) as pool:
        came = list(pool.map(lambda call: call[0](call[1], batch_size=7), calls))
    for (encode, inputs), packed in zip(calls, came, strict=True):
        np.testing.assert_array_equal(packed, encode(inputs))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_a_flipped_byte_is_refused(folder, name, place):
    path = folder / f"{name}.onnx"
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if place > 0 else place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.onnx is not the file that was released"):
        HashEncoder(folder)


def test_a_cut_file_is_refused(folder):
    path = folder / "text.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="bytes; the manifest says"):
        HashEncoder(folder)


@pytest.mark.parametrize(
    "form", ["../text.onnx", "{absolute}", "sub/../../text.onnx", "..\\text.onnx", "", "C:/t"]
)
def test_a_path_that_leaves_the_folder_is_refused(folder, form):
    outside = folder.parent / "text.onnx"
    (folder / "text.onnx").rename(outside)
    path = form.format(absolute=outside)

    def point_outside(manifest):
        manifest["encoders"]["text"]["onnx"]["path"] = path
        manifest["files"][path] = manifest["files"]["text.onnx"]

    edit(folder, point_outside)
    with pytest.raises(ValueError, match="not a path inside the folder"):
        HashEncoder(folder)


def test_a_symbolic_link_out_of_the_folder_is_refused(folder):
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    (folder / "text.onnx").rename(outside / "text.onnx")
    (folder / "text.onnx").symlink_to(outside / "text.onnx")
    with pytest.raises(ValueError, match=r"passes the symbolic link 'text\.onnx'"):
        HashEncoder(folder)
    (folder / "text.onnx").unlink()
    (folder / "sub").symlink_to(outside)

    def through_the_link(manifest):
        manifest["encoders"]["text"]["onnx"]["path"] = "sub/text.onnx"
        manifest["files"]["sub/text.onnx"] = manifest["files"]["text.onnx"]

    edit(folder, through_the_link)
    with pytest.raises(ValueError, match="passes the symbolic link 'sub'"):
        HashEncoder(folder)


def test_a_file_that_the_manifest_does_not_list_is_refused(folder):
    edit(folder, lambda manifest: manifest["files"].pop("image.onnx"))
    with pytest.raises(ValueError, match=r"lists no file 'image\.onnx'"):
        HashEncoder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=3), "schema 3; this version reads schema 2"),
        (lambda m: m.update(schema=1), r"schema 1, of an earlier .* again: export\.release"),
        (lambda m: m.pop("schema"), "schema None"),
        (lambda m: m.update(bits="12"), "bits must be an int of at least 1"),
        (lambda m: m.update(bits=0), "bits must be an int of at least 1"),
        (lambda m: m.update(files=[]), "'files' must be an object"),
        (lambda m: m["encoders"].pop("text"), "does not describe its text encoder"),
        (lambda m: m["encoders"].update(text=3), "does not describe its text encoder"),
        (lambda m: m["encoders"]["text"]["onnx"].update(path=3), "not a path inside the folder"),
        (lambda m: m["signatures"].update(encode_text=None), "does not describe its text encoder"),
    ],
)
def test_a_manifest_of_another_make_is_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(ValueError, match=message):
        HashEncoder(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0\0", '"release"'])
def test_a_manifest_that_is_no_object_is_refused(folder, text):
    (folder / manifests.NAME).write_text(text)
    with pytest.raises(ValueError, match=manifests.NAME):
        HashEncoder(folder)


def test_an_encoder_of_another_code_length_is_refused(folder):
    path = folder / "text.onnx"
    onnx.save(encoder_graph("text", bits=9), path)
    content = path.read_bytes()
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit(folder, lambda manifest: manifest["files"].update({"text.onnx": entry}))
    with pytest.raises(ValueError, match=r"text\.onnx has outputs .*the manifest says"):
        HashEncoder(folder)


def test_a_file_that_is_no_onnx_is_refused(folder):
    (folder / "text.onnx").write_bytes(b"nonsense")
    entry = {"sha256": hashlib.sha256(b"nonsense").hexdigest(), "bytes": 8}
    edit(folder, lambda manifest: manifest["files"].update({"text.onnx": entry}))
    with pytest.raises(ValueError, match=r"text\.onnx is no ONNX file"):
        HashEncoder(folder)


def test_a_folder_that_is_no_release_says_what_to_open(folder):
    for wrong in (folder.parent, folder / "image.onnx", folder / "missing"):
        with pytest.raises(FileNotFoundError, match=r"is no release.*latest"):
            HashEncoder(wrong)


def test_without_onnxruntime_the_error_names_the_extras(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"scbch_keras\[onnx\].*scbch_keras\[onnx-gpu\]"):
        HashEncoder(folder)


def test_serving_imports_neither_keras_nor_a_backend(folder):
    add_pipeline(folder)
    program = f"""
import sys
import numpy as np
import scbch_keras.export
from scbch_keras.export import HammingIndex, HashEncoder, Release, TextPipeline, release
encoder = HashEncoder({str(folder)!r})
index = HammingIndex(bits=encoder.bits)
index.add(encoder.text(np.eye(6, dtype="float32")), ids=range(6))
index.search(encoder.image(np.ones((2, 4, 3, 1), "float32")), k=3)
index.search(encoder.text(["a dog on the beach"]), k=3)
assert callable(scbch_keras.export.release) and callable(release)
heavy = [name for name in ("keras", "tensorflow", "jax", "torch", "onnx") if name in sys.modules]
assert not heavy, heavy
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
