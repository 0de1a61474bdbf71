import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import zipfile
from functools import partial

import numpy as np
import pytest

PIL = pytest.importorskip("PIL.Image")
h5py = pytest.importorskip("h5py")

from scbch_keras.preprocessing.normalization import CURRENT, WITH_PUNCTUATION  # noqa: E402
from scbch_keras.preprocessing.pictures import read_picture  # noqa: E402
from scbch_keras.preprocessing.text import TextPipeline  # noqa: E402
from scbch_keras.training.features.cache import extract  # noqa: E402
from scbch_keras.training.features.images import from_config, image_backbone  # noqa: E402
from scbch_keras.training.features.text import TextFeatures  # noqa: E402

numpy_only = pytest.mark.numpy_only
OFFLINE = "http://127.0.0.1:9"  # nothing listens there


def random_pictures(n=5, height=8, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    (picture if isinstance(picture, PIL.Image) else PIL.fromarray(picture)).save(buffer, kind, **options)
    return buffer.getvalue()


def python(code, *arguments, run=subprocess.run, **environment):
    done = run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# What Keras builds is the same on every backend; it runs on the one that builds it quickest.
once = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "torch", reason="the same on every backend; runs on torch"
)


@numpy_only
def test_nothing_heavy_is_imported_before_it_is_asked_for():
    loaded = python("""
        import sys
        from scbch_keras.training.features import cache, images, text
        images.image_backbone("pixels:4"); text.TextFeatures("tfidf").fit(["a b"])
        print([name for name in ("keras", "keras_hub", "gensim", "onnxruntime") if name in sys.modules])
    """)
    assert loaded == "[]"


# pictures


@numpy_only
def test_pixels_are_the_grey_values_over_255():
    pictures = random_pictures(300)
    features = image_backbone("pixels:8")
    grey = np.stack([np.asarray(PIL.fromarray(picture).convert("L")).ravel() for picture in pictures])
    np.testing.assert_array_equal(features(pictures), (grey / 255).astype(np.float32), strict=True)
    again = from_config(json.loads(json.dumps(features.config())))
    assert (again.size, again.dimensions, again.config()) == ((8, 8), 64, features.config())
    assert features(pictures[:0]).shape == (0, 64)


@numpy_only
def test_a_picture_is_turned_laid_on_white_and_resized(tmp_path):
    quarters = np.zeros((20, 40, 3), np.uint8)
    quarters[:10, :20], quarters[:10, 20:], quarters[10:, :20] = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    exif = PIL.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    (tmp_path / "turned.png").write_bytes(encoded(quarters, exif=exif))
    turned = read_picture(tmp_path / "turned.png", (8, 4))
    assert (turned.dtype, turned.shape) == (np.uint8, (8, 4, 3))
    corners = [turned[0, 0], turned[0, -1], turned[-1, 0], turned[-1, -1]]
    np.testing.assert_array_equal(corners, [[0, 0, 255], [255, 0, 0], [0, 0, 0], [0, 255, 0]])
    np.testing.assert_array_equal(read_picture(str(tmp_path / "turned.png"), (8, 4)), turned)

    assert (read_picture(encoded(PIL.new("RGBA", (5, 5), (9, 9, 9, 0))), (2, 2)) == 255).all()
    assert (read_picture(encoded(PIL.new("L", (5, 5), 77)), (2, 2)) == 77).all()
    # one pixel of a fine pattern is the mean of many, not one of them
    pattern = np.zeros((64, 64, 3), np.uint8)
    pattern[::2] = 200
    np.testing.assert_allclose(read_picture(encoded(pattern), (4, 4))[1:3], 100, atol=4)


@numpy_only
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded(random_pictures(1, 64, 64)[0], "JPEG")[:900], "bad.jpg: the picture is truncated or broken"),
        (encoded(random_pictures(1, 64, 64)[0])[:900], "bad.jpg: the picture is truncated or broken"),
        (b"<html>not found</html>", "bad.jpg: expected a picture, got something that is none"),
        (b"", "bad.jpg: expected a picture"),
        (encoded(np.full((4, 4), 40_000, np.uint16)), "bad.jpg: expected 8 bits a channel, got .* mode I;16"),
        (None, "bad.jpg: there is no such file"),
    ],
)
def test_a_bad_picture_is_refused_by_name(tmp_path, content, message):
    if content is not None:
        (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_picture(tmp_path / "bad.jpg", (4, 4))


@numpy_only
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pixels:0", {}, 'expected "pixels:" and a side length from 1 to 9999'),
        ("pixels:8", {"size": (9, 8)}, r"pixels:8 takes pictures of 8 x 8, got \(9, 8\)"),
        ("pixels:8", {"size": (8.0, 8)}, "size must be None or two whole numbers"),
        ("pixels:8", {"weights": "random"}, "weights must be None for pixels:8"),
        ("VGG19", {"weights": "/no/such.h5"}, "weights: there is no file /no/such.h5"),
        ("/no/such.onnx", {}, "there is no file /no/such.onnx"),
        ("/no/such.keras", {}, "there is no file /no/such.keras"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        image_backbone(name, **options)


@numpy_only
@pytest.mark.parametrize(
    "pictures",
    [
        random_pictures().astype(np.float32),
        random_pictures(5, 9),
        random_pictures()[0],
        random_pictures().tolist(),
    ],
)
def test_pictures_of_another_shape_or_type_are_refused(pictures):
    with pytest.raises(ValueError, match="pictures must be"):
        image_backbone("pixels:8")(pictures)


def onnx_file(path, shape, kind="UINT8", axes=(1, 2), outputs=1):
    """Pixel values -> their means over `axes`."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    kinds, helper = onnx.TensorProto, onnx.helper
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=kinds.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean0"], keepdims=0),
        helper.make_node("Identity", ["mean0"], ["mean1"]),
    ]
    results = [helper.make_tensor_value_info(f"mean{i}", kinds.FLOAT, None) for i in range(outputs)]
    inputs = [helper.make_tensor_value_info("pixels", getattr(kinds, kind), shape)]
    constants = [helper.make_tensor("axes", kinds.INT64, [len(axes)], axes)]
    graph = helper.make_graph(nodes, "means", inputs, results, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@numpy_only
@pytest.mark.parametrize(
    ("shape", "kind", "axes"),
    [
        (("n", 8, 6, 3), "UINT8", (1, 2)),
        (("n", 3, 8, 6), "FLOAT", (2, 3)),
        ((4, "h", "w", 3), "FLOAT", (1, 2)),
    ],
)
def test_an_onnx_file_is_fed_as_its_input_says(tmp_path, shape, kind, axes):
    path = onnx_file(tmp_path / "means.onnx", shape, kind, axes)
    features = image_backbone(path, size=(8, 6))
    pictures = random_pictures(37, 8, 6)
    np.testing.assert_allclose(features(pictures), pictures.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(from_config(features.config())(pictures), features(pictures))
    np.testing.assert_array_equal(features.pipeline()(pictures), features(pictures))
    onnx_file(path, shape, kind, axes, outputs=1).write_bytes(path.read_bytes() + b"\x3a\x00")
    with pytest.raises(ValueError, match=r"means\.onnx is not what it was: sha256"):
        from_config(features.config())


@numpy_only
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": ("n", 8, 8)}, "expected an input of uint8 or float32"),
        ({"shape": ("n", 8, 8, 3), "kind": "INT64"}, r"expected an input .* got int64"),
        ({"shape": ("n", 3, 8, 3)}, "expected an input"),
        ({"shape": ("n", "h", "w", 3)}, "say which with size="),
        ({"shape": ("n", 8, 8, 3), "outputs": 2}, "expected one input and one output, got 1 and 2"),
        ({"shape": ("n", 8, 8, 3), "axes": (1,)}, r"expected an output of real numbers \(n, d\)"),
        (None, r"bad\.onnx is no ONNX file"),
    ],
)
def test_an_unfit_onnx_file_is_refused(tmp_path, options, message):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no graph")
    if options is not None:
        onnx_file(path, **options)
    with pytest.raises(ValueError, match=message):
        image_backbone(path)


def small_network(size=8, units=5):
    import keras

    pixels = keras.Input((size, size, 3))
    inner = keras.layers.Rescaling(1 / 255)(pixels)
    inner = keras.layers.GlobalAveragePooling2D()(inner)
    return keras.Model(pixels, keras.layers.Dense(units, activation="relu", bias_initializer="ones")(inner))


def test_a_keras_model_gives_its_own_features_as_object_and_as_file(tmp_path):
    model, pictures = small_network(), random_pictures(40)
    kernel, bias = (np.asarray(weight) for weight in model.get_weights())
    expected = np.maximum(pictures.mean(axis=(1, 2)) / 255 @ kernel + bias, 0)
    features = image_backbone(model)
    assert (features.size, features.dimensions) == ((8, 8), 5)
    np.testing.assert_allclose(features(pictures), expected, atol=1e-5)
    np.testing.assert_allclose(features.pipeline()(pictures), expected, atol=1e-5)
    with pytest.raises(ValueError, match="a model given as an object cannot be made again"):
        from_config(features.config())

    model.save(tmp_path / "net.keras")
    filed = image_backbone(tmp_path / "net.keras")
    again = from_config(json.loads(json.dumps(filed.config())))
    np.testing.assert_array_equal(again(pictures), filed(pictures))
    np.testing.assert_allclose(filed(pictures), expected, atol=1e-5)
    small_network(units=6).save(tmp_path / "net.keras")
    with pytest.raises(ValueError, match=r"net\.keras is not what it was"):
        from_config(filed.config())

    before = features.config()
    model.set_weights([kernel + 1, bias])
    assert image_backbone(model).config() != before


def test_an_unfit_keras_model_is_refused(tmp_path):
    import keras

    pixels = keras.Input((8, 8, 3))
    code = keras.Model(pixels, keras.layers.Lambda(lambda x: x[:, 0, 0], output_shape=(3,))(pixels))
    code.save(tmp_path / "code.keras")
    with pytest.raises(ValueError, match=r"keras cannot load .*code.keras"):
        image_backbone(tmp_path / "code.keras")
    for model, message in [
        (keras.Sequential([keras.layers.Flatten()]), "must be a built model with one input and one output"),
        (
            keras.Model(pixels, keras.layers.Conv2D(2, 1)(pixels)),
            r"must take \(n, height, width, 3\) and give",
        ),
        (keras.layers.Dense(1), "must be a name, a path or a keras.Model, got Dense"),
    ]:
        with pytest.raises(ValueError, match=message):
            image_backbone(model)


@once
def test_an_application_has_its_own_preprocessing(tmp_path):
    import keras

    features = image_backbone("VGG16", "random", size=(32, 32))
    assert (features.size, features.dimensions) == ((32, 32), 512)
    pictures = random_pictures(2, 32, 32)
    net = next(layer for layer in features.model.layers if layer.name == "vgg16")
    prepared = keras.applications.vgg16.preprocess_input(pictures.astype(np.float32))
    by_hand = keras.ops.convert_to_numpy(net(prepared))
    assert by_hand.std() > 0
    np.testing.assert_allclose(features(pictures), by_hand, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="random weights cannot be made again"):
        from_config(features.config())

    net.save_weights(tmp_path / "own.weights.h5")
    filed = image_backbone("VGG16", tmp_path / "own.weights.h5", size=(32, 32))
    np.testing.assert_allclose(filed(pictures), features(pictures), rtol=1e-5)
    assert filed.config()["sha256"] == features.config()["sha256"]
    (tmp_path / "bad.weights.h5").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"weights: .*bad.weights.h5 does not fit VGG16"):
        image_backbone("VGG16", tmp_path / "bad.weights.h5", size=(32, 32))


@once
@pytest.mark.slow
def test_missing_weights_and_unknown_names_say_what_to_do(tmp_path, having_imported):
    with pytest.raises(ValueError, match="got 'VGG16s'; is it 'VGG16'"):
        image_backbone("VGG16s")
    code = """
        from scbch_keras.training.features.images import image_backbone
        try:
            image_backbone("VGG16", size=(32, 32))
        except ValueError as error:
            print(error)
    """
    run = partial(having_imported, "torch")
    told = python(code, run=run, KERAS_HOME=str(tmp_path), https_proxy=OFFLINE, no_proxy="")
    assert "the weights of VGG16 could not be downloaded" in told
    file = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert f"then put it as {file} into {tmp_path / 'models'}, or give the path of a weights file" in told
    assert (tmp_path / "models").is_dir()  # it is where Keras looked


# texts

TEXTS = ["sun sea sun", "sea sky", "sky sky tree", ""]


@numpy_only
def test_the_vocabulary_is_the_most_frequent_words_and_ties_go_by_word():
    def vocabulary(**settings):
        return TextFeatures("bow", **settings).fit(["c a B", "b d d", "c e"]).vocabulary

    assert vocabulary() == ("b", "c", "d", "a", "e")
    assert vocabulary(max_words=2) == ("b", "c")
    assert vocabulary(min_count=2) == ("b", "c", "d")


@numpy_only
def test_bag_of_words_against_hand_counts():
    features = TextFeatures("bow", counts=True).fit(TEXTS)
    assert features.vocabulary == ("sky", "sea", "sun", "tree")
    texts = ["SUN sun sky", "moon", ""]
    np.testing.assert_array_equal(features(texts), np.float32([[1, 0, 2, 0], [0] * 4, [0] * 4]), strict=True)
    np.testing.assert_array_equal(
        TextFeatures("bow").fit(TEXTS)(np.array(texts)), np.float32([[1, 0, 1, 0], [0] * 4, [0] * 4])
    )
    assert features([]).shape == (0, 4)


@numpy_only
def test_tfidf_against_hand_computed_numbers():
    features = TextFeatures("tfidf", max_words=3).fit(TEXTS)
    # four texts; sky and sea are in two of them, sun in one, tree is left out
    two, one = 1.5108256237659907, 1.9162907318741551  # ln(5/3) + 1, ln(5/2) + 1
    np.testing.assert_allclose(
        features(["sun sea sun", "sky tree", "tree"]),
        [
            [0, two / (two**2 + 4 * one**2) ** 0.5, 2 * one / (two**2 + 4 * one**2) ** 0.5],
            [1, 0, 0],
            [0, 0, 0],
        ],
        rtol=1e-5,  # idf is kept to 2**-16
    )


@pytest.fixture(scope="module")
def topics():
    rng = np.random.default_rng(0)
    return [" ".join(f"w{topic}{word}" for word in rng.integers(20, size=12)) for topic in [0, 1] * 60]


DOC2VEC = {"kind": "doc2vec", "dimensions": 8, "epochs": 10, "seed": 3}


@numpy_only
@pytest.mark.parametrize(
    "settings", [{"kind": "bow", "counts": True}, {"kind": "tfidf", "max_words": 9}, DOC2VEC]
)
def test_saved_text_features_are_the_same_again(tmp_path, topics, settings):
    if settings["kind"] == "doc2vec":
        pytest.importorskip("gensim")
    features = TextFeatures(**settings).fit([*topics, "naïve\x00 \u200d \u2028x"])
    features.save(tmp_path / "text.npz")
    again = TextFeatures.load(tmp_path / "text.npz")
    np.testing.assert_array_equal(again(topics), features(topics), strict=True)
    assert again.config() == json.loads(json.dumps(features.config()))
    assert again.vocabulary == features.vocabulary
    assert os.listdir(tmp_path) == ["text.npz"]
    with np.load(tmp_path / "text.npz") as file:  # refuses pickles
        assert all(file[key].dtype.kind in "uif" for key in file.files)


@numpy_only
@pytest.mark.parametrize(
    "settings", [{"kind": "bow"}, {"kind": "bow", "counts": True}, {"kind": "tfidf", "max_words": 9}]
)
def test_the_pipeline_of_a_release_gives_the_features_of_training(tmp_path, topics, settings):
    features = TextFeatures(**settings).fit(topics)
    features.pipeline().save(tmp_path / "text.json")
    pipeline = TextPipeline.load(tmp_path / "text.json")
    np.testing.assert_array_equal(pipeline(topics), features(topics), strict=True)
    assert (pipeline.vocabulary, pipeline.dimensions) == (features.vocabulary, features.dimensions)
    features.save(tmp_path / "text.npz")
    again = TextFeatures.load(tmp_path / "text.npz").pipeline()
    np.testing.assert_array_equal(again(topics), features(topics), strict=True)


@numpy_only
@pytest.mark.parametrize("kind", ["bow", "tfidf"])
def test_text_features_that_name_no_rule_are_read_by_the_former_one(tmp_path, kind):
    texts = ["A mug, red!", "a mug", "red"]
    former = TextFeatures(kind, normalization=WITH_PUNCTUATION).fit(texts)
    assert set(former.vocabulary) == {"a", "mug,", "red!", "mug", "red"}
    assert "normalization" not in former.config()  # as before there was another
    former.save(tmp_path / "text.npz")
    again = TextFeatures.load(tmp_path / "text.npz")
    assert again.normalization == again.pipeline().normalization == WITH_PUNCTUATION
    np.testing.assert_array_equal(again(texts), former(texts), strict=True)
    now = TextFeatures(kind).fit(texts)
    assert set(now.vocabulary) == {"a", "mug", "red"}
    assert now.config()["normalization"] == now.pipeline().normalization == CURRENT
    np.testing.assert_array_equal(now(["MUG..."]), now(["mug"]))
    with pytest.raises(ValueError, match="normalization must be one of"):
        TextFeatures(kind, normalization="nfc")


@numpy_only
def test_doc2vec_is_the_same_in_every_process_and_order_and_tells_topics_apart(topics):
    pytest.importorskip("gensim")
    features = TextFeatures(**DOC2VEC).fit(topics)
    vectors = features([*topics, "unknown words"])
    np.testing.assert_array_equal(features(topics[::-1]), vectors[-2::-1])
    assert not vectors[-1].any()
    code = """
        import json, sys
        from scbch_keras.training.features.text import TextFeatures
        topics, settings = json.loads(sys.argv[1])
        print(TextFeatures(**settings).fit(topics)(topics).tobytes().hex())
    """
    elsewhere = python(code, json.dumps([topics, DOC2VEC]), PYTHONHASHSEED="1")
    assert elsewhere == vectors[:-1].tobytes().hex()
    assert (TextFeatures(**{**DOC2VEC, "seed": 4}).fit(topics)(topics) != vectors[:-1]).any()
    centred = vectors[:-1] - vectors[:-1].mean(axis=0)
    same = (centred @ centred.T)[np.equal.outer(np.arange(120) % 2, np.arange(120) % 2)]
    assert same.mean() > 10 * abs((centred @ centred.T).mean())
    assert (same > 0).mean() > 0.8


def lengths(texts):
    return np.array([[len(text), text.count("s")] for text in texts])


@numpy_only
def test_a_function_is_called_with_all_texts(tmp_path):
    features = TextFeatures(lengths).fit(TEXTS)
    np.testing.assert_array_equal(features(TEXTS[:2]), np.float32([[11, 3], [7, 2]]), strict=True)
    assert features.config()["name"].endswith("test_features.lengths")
    with pytest.raises(ValueError, match="features of a function cannot be saved"):
        features.save(tmp_path / "text.npz")
    for wrong in (lambda texts: [1.0], lambda texts: np.full((len(texts), 2), np.nan), lambda texts: [["a"]]):
        with pytest.raises(ValueError, match=r"the function must give finite real numbers \(1, d\)"):
            TextFeatures(wrong).fit(["x"])


@numpy_only
@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: TextFeatures("bert"), "kind must be one of bow, tfidf, doc2vec or a function, got 'bert'"),
        (lambda: TextFeatures("tfidf", counts=True), 'counts must be True or False, and is only for "bow"'),
        (lambda: TextFeatures("bow", max_words=0), "max_words must be a whole number from 1"),
        (lambda: TextFeatures("bow", min_count=1.5), "min_count must be .* got 1.5"),
        (lambda: TextFeatures("doc2vec", seed=-1), "seed must be a whole number from 0"),
        (lambda: TextFeatures("bow")(["a"]), r"call fit\(texts\) first"),
        (lambda: TextFeatures("bow").fit([]), "texts must not be empty"),
        (lambda: TextFeatures("bow").fit(["", " "]), "texts have no word that comes min_count=1 times"),
        (lambda: TextFeatures("bow").fit("one text"), "texts must be a list of strings, got str"),
        (lambda: TextFeatures("bow").fit(["a", None]), "texts must be strings, got NoneType at 1"),
        (
            lambda: TextFeatures("bow").fit(["a", "\ud800"]),
            r"valid Unicode, got the lone surrogate U\+D800 at 1",
        ),
        (lambda: TextFeatures("bow").pipeline(), r"call fit\(texts\) first"),
        (
            lambda: TextFeatures("doc2vec").pipeline(),
            'takes the text features "bow" and "tfidf", got "doc2vec"',
        ),
        (lambda: TextFeatures(len).pipeline(), 'takes the text features "bow" and "tfidf", got a function'),
    ],
)
def test_bad_text_arguments_are_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


@numpy_only
def test_a_file_that_is_no_text_features_is_refused(tmp_path):
    path = tmp_path / "text.npz"
    TextFeatures("tfidf").fit(TEXTS).save(path)
    good = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["idf.npy"] = members["idf.npy"][:-1] + b"\x00"
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    foreign = io.BytesIO()
    np.savez(foreign, x=np.zeros(3))
    for content in (good[: len(good) // 2], changed.getvalue(), foreign.getvalue(), b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"text.npz: expected a file of TextFeatures.save"):
            TextFeatures.load(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"text\.npz: there is no such file"):
        TextFeatures.load(path)


# the cache


class Numbers:
    """Features of strings of digits, with a note of what was computed; stops at `stop`."""

    dimensions = 3

    def __init__(self, stop=None, factor=1.0):
        self.seen, self.stop, self.factor = [], stop, factor

    def config(self):
        return {"kind": "numbers", "factor": self.factor, "range": (0, 9)}

    def __call__(self, batch):
        if self.stop in batch:
            raise KeyboardInterrupt
        self.seen += batch
        return np.array(
            [[int(text) * self.factor + column for column in range(3)] for text in batch], np.float32
        )


NUMBERS = [str(number) for number in range(50)]
EXPECTED = np.arange(50, dtype=np.float32)[:, None] + np.arange(3, dtype=np.float32)


@pytest.fixture
def quiet():
    from rich.console import Console

    return Console(file=io.StringIO())


@numpy_only
def test_the_cache_is_a_plain_hdf5_file_that_is_computed_once(tmp_path, quiet):
    files = []
    for row, picture in enumerate(random_pictures(10, 12, 9)):
        files.append(tmp_path / f"{row}.png")
        files[-1].write_bytes(encoded(picture))
    features, path = image_backbone("pixels:4"), tmp_path / "made" / "pictures.h5"
    rows = extract(files, features, path, 3, console=quiet)
    direct = features(np.stack([read_picture(file, (4, 4)) for file in files]))
    np.testing.assert_array_equal(rows, direct, strict=True)
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable
    with h5py.File(path) as file:
        data = file["features"]
        assert (data.dtype, data.chunks, data.compression) == (np.float32, None, None)
        mapped = np.memmap(path, np.float32, "r", data.id.get_offset(), data.shape)
        np.testing.assert_array_equal(mapped, direct)
        np.testing.assert_array_equal(data[:], direct)
        assert file["done"][0] == 10
    before = path.read_bytes()
    np.testing.assert_array_equal(
        extract([str(file) for file in files], features, path, console=quiet), direct
    )
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["pictures.h5"]

    files[4].write_bytes(encoded(random_pictures(1)[0]))
    with pytest.raises(
        ValueError, match=r"holds features of other sources.* 1 of 10 finished rows, first row 4"
    ):
        extract(files, features, path, console=quiet)
    names = {str(file): str(file) for file in files}
    extract(files, features, tmp_path / "named.h5", key=lambda file: names[str(file)], console=quiet)
    files[4].touch()
    extract(files, features, tmp_path / "named.h5", key=lambda file: names[str(file)], console=quiet)


@numpy_only
def test_bytes_arrays_and_texts_are_sources_too(tmp_path, quiet):
    pictures = random_pictures(3)
    features = image_backbone("pixels:8")
    from_bytes = extract(
        [encoded(picture) for picture in pictures], features, tmp_path / "a.h5", console=quiet
    )
    np.testing.assert_array_equal(from_bytes, features(pictures))
    np.testing.assert_array_equal(extract(pictures, features, tmp_path / "b.h5", console=quiet), from_bytes)
    words = TextFeatures("tfidf").fit(TEXTS)
    np.testing.assert_array_equal(extract(TEXTS, words, tmp_path / "c.h5", 3, console=quiet), words(TEXTS))
    with pytest.raises(ValueError, match="holds other features"):
        extract(TEXTS, TextFeatures("tfidf").fit(TEXTS[:2]), tmp_path / "c.h5", console=quiet)


@numpy_only
def test_a_call_goes_on_behind_the_last_finished_batch(tmp_path, quiet):
    path = tmp_path / "n.h5"
    with pytest.raises(KeyboardInterrupt):
        extract(NUMBERS, Numbers(stop="23"), path, 5, console=quiet)
    rest = Numbers()
    np.testing.assert_array_equal(extract(NUMBERS, rest, path, 7, console=quiet), EXPECTED, strict=True)
    assert rest.seen == NUMBERS[20:]


@numpy_only
def test_a_killed_process_loses_one_batch_at_most(tmp_path, quiet):
    code = """
        import sys, time, numpy as np
        from scbch_keras.training.features.cache import extract
        class Slow:
            dimensions = 3
            def config(self): return {"kind": "numbers", "factor": 1.0, "range": [0, 9]}
            def __call__(self, batch):
                print(batch[0], file=sys.stderr, flush=True)
                if batch[0] == "16": time.sleep(60)
                return np.array([[int(text) + column for column in range(3)] for text in batch], np.float32)
        extract([str(number) for number in range(50)], Slow(), sys.argv[1], 4)
    """
    path = tmp_path / "n.h5"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    begun = next(line for line in child.stderr if line.strip() == "16")
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    child.stderr.close()
    assert (begun.strip(), child.returncode) == ("16", -signal.SIGKILL)
    with h5py.File(path) as file:
        assert file["done"][0] == 16
        np.testing.assert_array_equal(file["features"][:16], EXPECTED[:16])
    rest = Numbers()
    np.testing.assert_array_equal(extract(NUMBERS, rest, path, 4, console=quiet), EXPECTED)
    assert rest.seen == NUMBERS[16:]
    assert os.listdir(tmp_path) == ["n.h5"]


@numpy_only
def test_a_broken_picture_can_be_replaced_without_starting_again(tmp_path, quiet):
    files = [tmp_path / f"{row}.png" for row in range(8)]
    good = [encoded(picture) for picture in random_pictures(8)]
    for file, content in zip(files, good, strict=True):
        file.write_bytes(content)
    files[5].write_bytes(good[5][:60])
    with pytest.raises(ValueError, match=r"5\.png"):
        extract(files, image_backbone("pixels:8"), tmp_path / "p.h5", 2, console=quiet)
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["done"][0] == 4
    files[5].write_bytes(good[5])
    rows = extract(files, image_backbone("pixels:8"), tmp_path / "p.h5", 2, console=quiet)
    np.testing.assert_array_equal(rows, image_backbone("pixels:8")(random_pictures(8)))
    files[5].write_bytes(good[4])
    with pytest.raises(ValueError, match="first row 5"):
        extract(files, image_backbone("pixels:8"), tmp_path / "p.h5", 2, console=quiet)


@numpy_only
def test_another_file_is_refused_and_left_as_it_is(tmp_path, quiet):
    path = tmp_path / "n.h5"
    extract(NUMBERS, Numbers(), path, console=quiet)
    good = path.read_bytes()
    foreign = io.BytesIO()
    with h5py.File(foreign, "w") as file:
        file["features"] = np.zeros((50, 3), np.float32)
    for content, sources, features, message in [
        (good, NUMBERS[::-1], Numbers(), "holds features of other sources"),
        (good, NUMBERS[:-1], Numbers(), "holds features of 50 sources, got 49"),
        (
            good,
            NUMBERS,
            Numbers(factor=2.0),
            r"holds other features: .*'factor': 1.0.*, expected .*'factor': 2.0",
        ),
        (good[:-40], NUMBERS, Numbers(), "is no file of `extract`, or damaged"),
        (foreign.getvalue(), NUMBERS, Numbers(), "is no file of `extract`, or damaged"),
        (b"something else", NUMBERS, Numbers(), "is no file of `extract`, or damaged"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            extract(sources, features, path, console=quiet)
        assert path.read_bytes() == content
        assert features.seen == []


@numpy_only
@pytest.mark.parametrize(
    ("sources", "options", "message"),
    [
        ([], {}, "sources must not be empty"),
        ("12", {}, "sources must be a list, got str"),
        ([1], {}, "sources: expected a path, bytes, a string or an array, got int"),
        (["1"], {"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        (["1"], {"key": len}, "key must give a string for each source, got int for 0"),
    ],
)
def test_bad_arguments_of_extract_are_refused_before_anything_is_written(tmp_path, sources, options, message):
    with pytest.raises(ValueError, match=message):
        extract(sources, Numbers(), tmp_path / "n.h5", **options)
    assert not os.listdir(tmp_path)


@numpy_only
def test_features_of_a_wrong_shape_or_not_finite_are_refused(tmp_path, quiet):
    for factor, message in [(float("nan"), "finite"), (1.0, r"got \(32, 3\)")]:
        features = Numbers(factor=factor)
        features.dimensions = 3 if np.isnan(factor) else 4
        with pytest.raises(ValueError, match=message):
            extract(NUMBERS, features, tmp_path / f"{factor}.h5", console=quiet)


@numpy_only
def test_a_full_disk_is_told_and_what_is_finished_stays(tmp_path, quiet):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sources, path = NUMBERS * 100, tmp_path / "n.h5"  # 60 KB of features

    def limited(size, features):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            extract(sources, features, path, 100, console=quiet)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with pytest.raises(OSError, match=r"n\.h5 cannot be made, it needs 0\.1 MiB"):
        limited(30_000, Numbers())
    assert not os.listdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        extract(sources, Numbers(stop="0"), path, 100, console=quiet)
    with h5py.File(path) as file:
        room = file["features"].id.get_offset() + 30_000
    with pytest.raises(
        OSError, match=r"n\.h5 cannot be written \(.*\): 2500 of 5000 rows are finished and stay"
    ):
        limited(room, Numbers())
    rest = Numbers()
    np.testing.assert_array_equal(
        extract(sources, rest, path, 100, console=quiet), np.tile(EXPECTED, (100, 1))
    )
    assert len(rest.seen) == 2500
