"""Pictures become the same pixels and features in Python, TensorFlow and ONNX, bit for bit, or an error."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.numpy_only

PIL = pytest.importorskip("PIL.Image")

from PIL.PngImagePlugin import PngInfo  # noqa: E402

from scbch_keras.export import ImagePipeline  # noqa: E402
from scbch_keras.preprocessing.pictures import decoded, grey_features, resized  # noqa: E402

SIZES = [(32, 32), (5, 224)]


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


# resize and grey values


@pytest.fixture(scope="module")
def graphs():
    """Size -> the graph of resize and grey features in TensorFlow, and the same in onnxruntime."""
    tf = pytest.importorskip("tensorflow")
    tf2onnx = pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    from scbch_keras.export.graphs.image_tensorflow import grey_features, resize

    found = {}
    for size in SIZES:

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="pictures")])
        def prepare(pictures, size=size):
            pixels = resize(pictures, size)
            return {"pixels": tf.cast(pixels, tf.uint8), "grey": grey_features(pixels)}

        stored, _ = tf2onnx.convert.from_function(prepare, input_signature=prepare.input_signature, opset=18)
        session = runtime.InferenceSession(stored.SerializeToString(), providers=["CPUExecutionProvider"])

        def tensorflow(pictures, prepare=prepare):
            return [value.numpy() for _, value in sorted(prepare(pictures).items())]

        def onnx(pictures, session=session):
            return session.run(["grey", "pixels"], {"pictures": pictures})

        found[size] = (tensorflow, onnx)
    return found


sides = st.integers(1, 600)


@pytest.mark.slow
@pytest.mark.onednn
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(SIZES), sides, sides, st.integers(0, 2**32 - 1), st.booleans())
def test_resize_and_grey_values_are_pillows_in_every_graph(
    graphs, size, height, width, seed, black_and_white
):
    pictures = np.stack([noise(height, width, seed=seed), noise(height, width, seed=seed + 1)])
    if black_and_white:
        pictures = np.where(pictures > 127, np.uint8(255), np.uint8(0))
    pixels = np.stack([resized(picture, size) for picture in pictures])
    for graph in graphs[size]:
        grey, came = graph(pictures)
        np.testing.assert_array_equal(came, pixels, strict=True)
        np.testing.assert_array_equal(grey, grey_features(pixels), strict=True)


@pytest.mark.onednn
@pytest.mark.parametrize("shape", [(1, 4000), (4000, 1), (3000, 2), *SIZES])
@pytest.mark.slow
def test_extreme_pictures_and_those_of_the_size_too(graphs, shape):
    pictures = noise(*shape)[None]
    for size, both in graphs.items():
        for graph in both:
            np.testing.assert_array_equal(graph(pictures)[1][0], resized(pictures[0], size), strict=True)
    assert (resized(pictures[0], shape) == pictures[0]).all()


def test_a_resize_is_pillows_of_the_width_then_of_the_height():
    for height, width, size in ((300, 20, (7, 30)), (20, 300, (30, 7)), (9, 9, (20, 20))):
        picture = PIL.fromarray(noise(height, width))
        across = picture.resize((size[1], height), PIL.Resampling.BILINEAR)
        down = across.resize((size[1], size[0]), PIL.Resampling.BILINEAR)
        np.testing.assert_array_equal(resized(np.asarray(picture), size), np.asarray(down), strict=True)


def test_every_colour_has_pillows_grey_value_over_255():
    colours = (
        np.stack(np.meshgrid(*[np.arange(0, 256, 3)] * 3), axis=-1).astype(np.uint8).reshape(1, -1, 86, 3)
    )
    expected = np.asarray(PIL.fromarray(colours[0]).convert("L"), np.float32) / np.float32(255)
    np.testing.assert_array_equal(grey_features(colours)[0], expected.ravel(), strict=True)


# picture files


def png16(color, channels, *chunks):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.random.default_rng(0).integers(0, 65536, (7, 9, channels)).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 9, 7, 16, color, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def with_xmp(text, zipped=False):
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", text, zip=zipped)
    return encoded(RGB, pnginfo=info)


def exif(orientation, order="<", kind=3):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = [(0x010F, 2, 3, b"me\0\0"), (0x0112, kind, 1, struct.pack(order + "HH", orientation, 0))]
    packed = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0" + mark + struct.pack(order + "IH", 8, len(entries)) + packed + bytes(4)


RGBA = PIL.fromarray(noise(23, 34, 4))
RGB, GREY = RGBA.convert("RGB"), RGBA.convert("L")
ALPHAS = np.stack(np.broadcast_arrays(*[np.arange(256)[:, None]] * 3, np.arange(256)), axis=-1).astype(
    np.uint8
)
SAME = {
    **{f"PNG {mode}": encoded(RGBA.convert(mode)) for mode in ("RGB", "RGBA", "L", "LA", "1", "P")},
    **{f"PNG {bits} bits": encoded(RGB.quantize(2**bits), bits=bits) for bits in (1, 2, 4)},
    **{f"PNG grey {bits} bits": encoded(GREY, bits=bits) for bits in (1, 2, 4)},
    **{f"PNG 16 bits, type {kind}": png16(kind, channels) for kind, channels in ((2, 3), (4, 2), (6, 4))},
    "PNG every alpha": encoded(PIL.fromarray(ALPHAS)),
    "PNG palette with alphas": encoded(RGB.quantize(200), transparency=bytes(range(200))),
    "PNG palette with a transparent colour": encoded(RGB.quantize(4), transparency=1, bits=2),
    "PNG with a transparent colour": encoded(RGB, transparency=RGB.getpixel((3, 3))),
    "PNG with a transparent grey": encoded(GREY, transparency=GREY.getpixel((3, 3))),
    "PNG animated": encoded(RGB, save_all=True, append_images=[RGB.transpose(0)]),
    "PNG with XMP": with_xmp("<x:xmpmeta/>"),
    **{f"PNG orientation {value}": encoded(RGB, exif=exif(value)) for value in (0, 1, 3, 5)},
    **{
        f"JPEG {sampling} {quality} {progressive}": encoded(
            RGB, "JPEG", quality=quality, subsampling=sampling, progressive=progressive
        )
        for sampling in (0, 1, 2)
        for quality in (10, 75)
        for progressive in (False, True)
    },
    "JPEG grey": encoded(GREY, "JPEG"),
    "JPEG in RGB": encoded(RGB, "JPEG", keep_rgb=True),
    **{
        f"JPEG orientation {value} {order}": encoded(RGB, "JPEG", exif=exif(value, order))
        for value in range(10)
        for order in "<>"
    },
    "JPEG with XMP, upright": encoded(RGB, "JPEG", xmp=b'<x tiff:Orientation="1"/>'),
    "JPEG with EXIF before XMP": encoded(RGB, "JPEG", exif=exif(6), xmp=b'<x tiff:Orientation="3"/>'),
}
JPEG, PNG = SAME["JPEG orientation 6 <"], SAME["PNG RGB"]
REFUSED = {
    "another format": (encoded(RGB, "BMP"), "expected a JPEG or PNG picture"),
    "nothing": (b"", "expected a JPEG or PNG picture"),
    "CMYK": (encoded(RGB.convert("CMYK"), "JPEG"), "the JPEG is CMYK"),
    "16-bit grey": (png16(0, 1), "expected 8 bits a channel, got a PNG of 16-bit grey"),
    "16-bit transparent colour": (png16(2, 3, (b"tRNS", bytes(6))), "transparent colour of another depth"),
    "4-bit transparent grey": (encoded(GREY, bits=4, transparency=3), "transparent colour of another depth"),
    "JPEG turned by XMP": (encoded(RGB, "JPEG", xmp=b'<x tiff:Orientation="6"/>'), "stands in XMP alone"),
    "PNG turned by XMP": (with_xmp("<tiff:Orientation>8</tiff:Orientation>"), "stands in XMP alone"),
    "PNG with compressed XMP": (with_xmp("<x/>", zipped=True), "in a text chunk, not served"),
    "orientation of another type": (encoded(RGB, "JPEG", exif=exif(6, kind=1)), "not one SHORT"),
    "broken EXIF": (encoded(RGB, "JPEG", exif=exif(6)[:-20]), "EXIF of the picture is broken"),
    "no EXIF": (encoded(RGB, "JPEG", exif=b"Exif\0\0something"), "EXIF of the picture is broken"),
    "JPEG cut": (JPEG[:-2], "Invalid JPEG data"),
    "JPEG cut in the head": (JPEG[:60], "Invalid JPEG data|the JPEG ends before its picture"),
    "PNG cut": (PNG[:-30], "the PNG is cut off"),
    "PNG without an end": (PNG[:-12], "the PNG has no end"),
    "PNG head": (PNG[:8], "the PNG has no end"),
    "PNG flipped": (PNG[:99] + bytes([PNG[99] ^ 1]) + PNG[100:], "Invalid PNG data"),
}


@pytest.fixture(scope="module")
def decode():
    tf = pytest.importorskip("tensorflow")
    from scbch_keras.export.graphs.picture_bytes_tensorflow import decode

    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])


@pytest.mark.parametrize("name", SAME)
@pytest.mark.slow
def test_the_graph_decodes_as_pillow_does(decode, name):
    np.testing.assert_array_equal(decode(SAME[name]).numpy(), decoded(SAME[name]), strict=True)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.slow
def test_what_the_graph_would_decode_otherwise_is_an_error_of_it(decode, name):
    from tensorflow import errors

    content, message = REFUSED[name]
    with pytest.raises(errors.InvalidArgumentError, match=message):
        decode(content)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from([JPEG, PNG]), st.data())
@pytest.mark.slow
def test_broken_bytes_are_an_error_or_the_same_pixels(decode, content, data):
    from tensorflow import errors

    broken = bytearray(content)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        broken[place] = data.draw(st.integers(0, 255))
    try:
        came = decode(bytes(broken)).numpy()
    except errors.InvalidArgumentError:
        return
    np.testing.assert_array_equal(came, decoded(bytes(broken)), strict=True)


# the pipeline


def test_the_pipeline_of_grey_pixels_gives_the_features_of_training(tmp_path):
    images = pytest.importorskip("scbch_keras.training.features.images")
    features = images.image_backbone("pixels:6")
    pipeline = features.pipeline()
    files = [SAME["JPEG orientation 6 <"], SAME["PNG LA"]]
    pixels = np.stack([resized(decoded(content), (6, 6)) for content in files])
    np.testing.assert_array_equal(pipeline(files), features(pixels), strict=True)
    pipeline.save(tmp_path)
    again = ImagePipeline.load(tmp_path)
    assert (again.size, again.dimensions, again.backbone) == ((6, 6), 36, None)
    np.testing.assert_array_equal(again(pixels), pipeline(files), strict=True)
    assert pipeline([]).shape == (0, 36)


@pytest.mark.parametrize(
    "change",
    [
        (b'"schema": 1', b'"schema": 2'),
        (b"grey", b"code"),
        (b"[6, 6]", b"[6]"),
        (b"36", b'"36"'),
        (b"{", b""),
    ],
)
def test_a_file_that_is_no_pipeline_is_refused(tmp_path, change):
    ImagePipeline((6, 6)).save(tmp_path)
    path = tmp_path / "image_pipeline.json"
    path.write_bytes(path.read_bytes().replace(*change))
    with pytest.raises(ValueError, match=r"image_pipeline\.json: expected a file of ImagePipeline\.save"):
        ImagePipeline.load(tmp_path)
