"""Features, strings and pictures to codes in production: a release opened with numpy and onnxruntime.

Pillow is needed for pictures that must be decoded or resized, tokenizers for strings of a `TextEncoder`; nothing else.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scbch_keras.checks import flag, one_of, shown, some_of, thread_count, whole
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.format.encoder_inputs import encoder_inputs, inputs_shape, tensors
from scbch_keras.export.format.pipelines import opened_pipeline
from scbch_keras.export.serving.picture_encoder import EncodedPictures, PictureEncoder
from scbch_keras.export.serving.session import Session, StartSession
from scbch_keras.export.serving.strings import text_encoder
from scbch_keras.features import as_features, check_row_counts, check_shape, first_array, sizes_of, take
from scbch_keras.modalities import MODALITIES
from scbch_keras.preprocessing.onnx_files import onnxruntime
from scbch_keras.preprocessing.pictures import are_pictures
from scbch_keras.preprocessing.text import TextPipeline, checked
from scbch_keras.preprocessing.text_encoder import TextEncoder

_SINGLE = (str, os.PathLike, bytes)
"""One text, or one picture file."""


class HashEncoder:
    """Image and text features, pictures or strings -> codes, by the ONNX files of a release.

    The manifest's schema and paths are checked, and each file's sha256 before it is used. Safe to call from
    many threads, and in forked processes, which open the files anew. image_raw.onnx, which has the image branch's
    weights once more and the backbone's, is opened with the first picture.

    Pickled or copied, an encoder travels as its arguments and the checksum of its release: where it arrives it opens
    the release at the same path, and a release that is another by then is refused.

    Args:
        path: the folder of a release: `releases/3` or `releases/latest` (followed once, when opening; again if that
            version is deleted meanwhile).
        modalities: which encoders to load: ("image", "text"), or one of them to save memory.
        precision: "float32", or "int8" or "fp16" if the release was made with them (`quantize=`). Pictures are
            encoded in float32 only.
        threads: of a call on the CPU, 1 to 1024; None for one a core. Give 1 where many calls run at the same time.
        providers: onnxruntime execution providers, first choice first. Default: the CPU's, even where the
            GPU package is installed.
        max_pixels: of a picture file, width times height, int >= 1: one with more is refused by its header, before
            it is decoded. None for Pillow's own limit, 178,956,970.

    Raises:
        ImportError: onnxruntime is not installed.
        FileNotFoundError: no release there, or a file of it is missing.
        ValueError: a damaged or foreign release, one without ONNX files or without those of `precision`, one with
            tensors in other files, or a wrong argument.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        modalities: Sequence[str] = MODALITIES,
        precision: str = "float32",
        threads: int | None = None,
        providers: Sequence[str | tuple[str, dict[str, Any]]] = ("CPUExecutionProvider",),
        max_pixels: int | None = None,
    ):
        runtime = _onnxruntime()
        modalities = some_of("modalities", modalities, MODALITIES)
        precision = one_of("precision", precision, manifests.PRECISIONS)
        threads = thread_count(threads)
        max_pixels = whole("max_pixels", max_pixels, 1, optional=True)
        if isinstance(providers, str) or not isinstance(providers, Sequence) or not providers:
            raise ValueError(f"providers must be a list of onnxruntime providers, got {providers!r}")
        for provider in providers:
            match provider:
                case str(name) | (str(name), dict()):
                    pass
                case _:
                    raise ValueError(f"providers must be names, or (name, options), got {shown(provider)}")
            if name not in runtime.get_available_providers():
                # onnxruntime itself only warns and quietly runs on the CPU.
                raise ValueError(
                    f"providers names {name!r}; this onnxruntime has {runtime.get_available_providers()}"
                )
        self.precision = precision
        self._settings: dict[str, Any] = {
            "modalities": tuple(modalities),
            "precision": precision,
            "threads": threads,
            "providers": tuple(providers),
            "max_pixels": max_pixels,
        }

        def session(content: bytes) -> Any:
            options = runtime.SessionOptions()
            options.intra_op_num_threads = threads or 0
            # Its threads would wait for the next call by using up a processor, which others need.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            return runtime.InferenceSession(content, options, providers=list(providers))

        # `latest` is followed once: it may move while the files are being read.
        self.path = _resolved(path)
        while True:
            try:
                self._open(session)
                return
            except FileNotFoundError:
                if (now := _resolved(path)) == self.path:
                    raise
                self.path = now  # the version was deleted after `latest` had moved on

    def _open(self, session: StartSession) -> None:
        self.manifest, self.manifest_sha256 = manifests.read_with_digest(self.path)
        self.bits: int = self.manifest["bits"]
        self._encoders = {
            modality: _Encoder(session, self.path, self.manifest, modality, self.precision)
            for modality in self._settings["modalities"]
        }
        self._pipeline = self._opened_pipeline(session) if "text" in self._encoders else None
        self._pictures = self._picture_encoder(session) if "image" in self._encoders else None

    def __reduce__(self) -> tuple[Any, ...]:
        content = manifests.content_sha256(self.manifest)
        return _reopened, (type(self), str(self.path), self._settings, content)

    def __repr__(self) -> str:
        loaded = " and ".join(self._encoders)
        return f"HashEncoder({str(self.path)!r}): {self.bits} bits, {self.precision}, {loaded}"

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """Height and width of the pictures that enter the network; None where none are taken."""
        return None if self._pictures is None else self._pictures.size

    def image(
        self, images: ArrayLike | Sequence[Any], *, batch_size: int = 1024, packed: bool = True
    ) -> NDArray[Any]:
        """Codes of images.

        Args:
            images: what the model was trained on, features (n, d) or pixels (n, h, w, c), as `scbch_keras.arrays` takes
                them: real numbers of any type, rounded to float32; a dict of them by name for an encoder with several
                inputs. Where the release takes pictures, also those: RGB uint8 (n, h, w, 3) of any size, or a list of
                uint8 (h, w, 3), of paths of picture files, or of their bytes, read and resized as `ImagePipeline` does;
                a single path or bytes is one row. No rows give no codes.
            batch_size: rows that enter the network together, of pictures so many that they have 2^20 pixels at most;
                changes speed and memory, not the result beyond float rounding.
            packed: whether the codes are packed bits or continuous.

        Returns:
            Packed codes (n, ceil(bits / 8)), uint8; or continuous ones (n, bits), float32 in [-1, 1].

        Raises:
            ValueError: wrong shape or type, NaN or what float32 cannot hold (the first such row is named), an
                encoder that was not loaded; pictures if the release was made without `image`; a picture that
                cannot be read (its place is named).
            ImportError: pictures must be decoded or resized, and Pillow is not installed.
        """
        encoder, size = self._checked("image", batch_size, packed)
        images = _listed(images)
        if self._pictures is not None and are_pictures(images):
            if self.precision != "float32" and isinstance(self._pictures, PictureEncoder):
                raise ValueError(
                    f"image: pictures are encoded in float32 only, and this HashEncoder was opened with precision "
                    f"{self.precision!r}; give their features, or open another for pictures"
                )
            return self._pictures.encode(images, size, packed)
        if isinstance(encoder.shape, tuple) and len(encoder.shape) == 2 and are_pictures(images):
            raise ValueError(
                f"image features must be (n, {encoder.shape[1]}), got pictures: the release {self.path} takes "
                "none. Make one with export.release(model, folder, image=pipeline)"
            )
        return encoder.encode(images, size, packed)

    def text(
        self, texts: ArrayLike | Sequence[str], *, batch_size: int = 1024, packed: bool = True
    ) -> NDArray[Any]:
        """Codes of texts: of their features, or of strings where the release takes them.

        Args:
            texts: features (n, d); or strings as a list or a one-dimensional array; a single string is one row. Strings
                become the features that the model was trained on (`TextPipeline`, `TextEncoder`). The
                code of one without a known word says nothing of it: `known_words` and `unknown_words` tell.
            batch_size: rows that enter the network together.
            packed: whether the codes are packed bits or continuous.

        Returns:
            Packed codes (n, ceil(bits / 8)), uint8; or continuous ones (n, bits), float32 in [-1, 1].

        Raises:
            ValueError: as `image`; also for strings if the release was made without `text`, and for one with a lone
                surrogate.
            ImportError: the release has a `TextEncoder`, and tokenizers is not installed.
        """
        encoder, size = self._checked("text", batch_size, packed)
        texts = _listed(texts)
        if not _are_strings(texts) or (self._pipeline is None and np.size(texts) == 0):
            return encoder.encode(texts, size, packed)
        pipeline, strings = self._strings_pipeline(), checked(texts)
        # Features here and the encoder's own file, not text_raw.onnx: the weights are in memory once, and a
        # long string does not widen its whole batch.
        starts = range(0, max(len(strings), 1), size)
        codes = [encoder.encode(pipeline(strings[at : at + size]), size, packed) for at in starts]
        return np.concatenate(codes)

    @property
    def pipeline(self) -> TextPipeline | TextEncoder | None:
        """What makes features of strings; None where `text` takes none."""
        return self._pipeline

    @property
    def takes_strings(self) -> bool:
        """Whether `text` takes strings: the release was made with `text`, and the text encoder is loaded."""
        return self._pipeline is not None

    def unknown_words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each string that the model does not know: they do not change the code.

        Args:
            texts: n strings.

        Returns:
            n lists, each word once, in the order of the string.

        Raises:
            ValueError: as `text`.
        """
        return self._strings_pipeline().unknown(texts)

    def known_words(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """How many different words of each string the model knows; with 0 the code says nothing of it.

        Args:
            texts: n strings.

        Returns:
            (n,), int64.

        Raises:
            ValueError: as `text`.
        """
        return self._strings_pipeline().known(texts)

    def _strings_pipeline(self) -> TextPipeline | TextEncoder:
        self._checked("text")
        if self._pipeline is None:
            raise ValueError(
                f"text features must be float32, got strings: the release {self.path} takes none. Make one "
                "with export.release(model, folder, text=pipeline)"
            )
        return self._pipeline

    def _checked(self, modality: str, batch_size: int = 1, packed: bool = True) -> tuple["_Encoder", int]:
        encoder = self._encoders.get(modality)
        if encoder is None:
            raise ValueError(f"this HashEncoder was opened without modality {modality!r}")
        flag("packed", packed)
        return encoder, whole("batch_size", batch_size, 1)

    def _picture_encoder(self, start: StartSession) -> PictureEncoder | EncodedPictures | None:
        features = self._encoders["image"]
        shape: Any = features.shape
        limit = self._settings["max_pixels"]
        if manifests.IMAGE_ENCODER in self.manifest["encoders"]:
            return EncodedPictures(start, self.path, self.manifest, shape[-1], features.encode, limit)
        if manifests.RAW_IMAGE not in self.manifest["encoders"]:
            return None
        return PictureEncoder(start, self.path, self.manifest, shape[-1], limit)

    def _opened_pipeline(self, start: StartSession) -> TextPipeline | TextEncoder | None:
        shape: Any = self._encoders["text"].shape
        if manifests.TEXT_ENCODER in self.manifest["encoders"]:
            return text_encoder(start, self.path, self.manifest, shape[-1])
        if manifests.RAW_TEXT not in self.manifest["encoders"]:
            return None
        pipeline, path = opened_pipeline(self.path, self.manifest)
        if shape[1:] != (pipeline.dimensions,):
            raise ValueError(
                f"{path} has {pipeline.dimensions} words; the text encoder takes shape {shape[1:]}"
            )
        return pipeline


class _Encoder:
    """One ONNX file of a release: its signature and its onnxruntime session."""

    def __init__(
        self,
        start: StartSession,
        folder: Path,
        manifest: dict[str, Any],
        modality: str,
        precision: str,
    ):
        self.modality = modality
        self.bits: int = manifest["bits"]
        try:
            entries = manifest["encoders"][modality]
            if precision != "float32" and "onnx" in entries and manifests.onnx_form(precision) not in entries:
                raise ValueError(
                    f"the release {folder} holds no {precision} encoder of {modality}; make it with "
                    f"export.release(..., quantize=({precision!r},))"
                )
            relative = entries[manifests.onnx_form(precision)]["path"]
            self.inputs = encoder_inputs(manifest, modality)
            self.shape = inputs_shape(modality, self.inputs)
        except (KeyError, TypeError) as error:
            if "onnx" not in manifest.get("formats", ()):
                raise ValueError(
                    f"the release {folder} holds no ONNX files (its formats: {manifest.get('formats')}); "
                    "make it with formats=('onnx',) or both"
                ) from error
            raise ValueError(
                f"the manifest of {folder} does not describe its {modality} encoder: {error}"
            ) from error
        expected = manifests.inputs_signature(self.inputs, self.bits)
        self.session = Session(start, folder, manifest, relative, expected)
        self.session.opened()

    def encode(self, features: Any, batch_size: int, packed: bool) -> NDArray[Any]:
        name = f"{self.modality} features"
        features = as_features(name, features)
        check_row_counts(name, features)
        check_shape(name, sizes_of(features), self.shape)
        output = "packed_codes" if packed else "codes"
        width = -(-self.bits // 8) if packed else self.bits
        rows = len(first_array(features))
        codes = np.empty((rows, width), np.uint8 if packed else np.float32)
        for start in range(0, rows, batch_size):
            part = slice(start, start + batch_size)
            batch = tensors(name, self.inputs, take(features, part), start)
            codes[part] = self.session.run([output], batch)[0]
        return codes


def _resolved(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).resolve()
    except RuntimeError as error:  # links in a circle, before Python 3.13
        raise ValueError(f"{path} is no folder of a release: {error}") from error


def _reopened(cls: type[HashEncoder], path: str, settings: Mapping[str, Any], content: str) -> HashEncoder:
    """What was pickled, opened again where it arrived."""
    _check_content(path, content, manifests.read(Path(path)))
    encoder = cls(path, **settings)
    _check_content(path, content, encoder.manifest)
    return encoder


def _check_content(path: str, content: str, manifest: dict[str, Any]) -> None:
    if content != (now := manifests.content_sha256(manifest)):
        raise ValueError(
            f"{path} is not the release that this HashEncoder had opened when it was pickled or copied: the checksum "
            f"of its manifest was {content} and is {now}. Open HashEncoder({path!r}) anew"
        )


def _listed(inputs: Any) -> Any:
    """A string, path or file's content alone as a list; so too a column of such, of numpy, pandas or polars."""
    if isinstance(inputs, _SINGLE):
        return [inputs]
    is_column = len(getattr(inputs, "shape", ())) == 1 and getattr(inputs.dtype, "kind", "O") in "OUT"
    return list(inputs) if is_column and isinstance(_first(inputs), _SINGLE) else inputs


def _first(inputs: Any) -> Any:
    """The first of the inputs that is not missing (None, NaN, pandas' NA); None if all are."""
    for one in inputs:
        is_nan = isinstance(one, float) and one != one
        if not (one is None or is_nan or type(one).__name__ == "NAType"):
            return one
    return None


def _are_strings(texts: Any) -> bool:
    """Whether strings are meant: a list of such, missing ones left out, or an empty one."""
    if isinstance(texts, np.ndarray):
        return texts.dtype.kind in "UT" or (
            texts.dtype == object and _are_strings(texts.ravel()[:1].tolist())
        )
    if not isinstance(texts, list | tuple):
        return False
    return not texts or isinstance(_first(texts), _SINGLE) or (texts[0] is None and _first(texts) is None)


def _onnxruntime() -> Any:
    try:
        return onnxruntime()
    except ImportError as error:
        raise ImportError(
            "HashEncoder needs onnxruntime: pip install 'scbch_keras[onnx]', or 'scbch_keras[onnx-gpu]' "
            "for NVIDIA GPUs (one of the two, never both)"
        ) from error
