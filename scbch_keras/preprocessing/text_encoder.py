"""Texts -> feature rows of a network: an ONNX file with its tokenizer, the same in training and in a release.

numpy only; onnxruntime is imported when an encoder is opened, and the package tokenizers with the first text.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scbch_keras import checks
from scbch_keras.files import loads, read_bytes
from scbch_keras.preprocessing import encoder_files as files
from scbch_keras.preprocessing.onnx_files import Run, described, session_of
from scbch_keras.preprocessing.pooling import pooled, unit_rows
from scbch_keras.preprocessing.text import checked
from scbch_keras.preprocessing.token_inputs import (
    Tokens,
    check_inputs,
    not_here,
    sentence_transformers,
    truncation,
)
from scbch_keras.stored import FileKind, write_json

ENCODER_FILE = "text_encoder.json"
ONNX_FILE = "text_encoder.onnx"
TOKENIZER_FILE = "text_tokenizer.json"
"""The names of the three in a release."""
_STORED = FileKind("a file of TextEncoder.save", "schema", (1,))
_MAX_TOKENIZER = 2**28
_ROWS = 32
_SETTINGS = {
    "pooling": files.check_pooling,
    "normalize": checks.flag,
    "max_tokens": files.check_count,
    "output": checks.text,
}


class TextEncoder:
    """Texts -> features float32 (n, dimensions): tokens, the network, pooling. `open` makes one of files.

    Texts of equal numbers of tokens are computed together: no row is padded. A text of more than
    `max_tokens` is cut off (`cut` counts those). One without any token is a row of zeros.

    Args:
        settings: "pooling", "normalize", "max_tokens", "output", "dimensions", and "inputs" and "outputs" of the
            ONNX file as `described` gives them.
        tokenizer: the content of a tokenizer.json.
        run: runs the ONNX file.
        source: names the encoder in messages.
        made_of: its files and their sha256, where it was opened from a folder.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        tokenizer: bytes,
        run: Run,
        source: str,
        made_of: Mapping[str, tuple[Path, str]] | None = None,
    ) -> None:
        self.settings = dict(settings)
        self.dimensions: int = settings["dimensions"]
        """Columns of the features."""
        self.source = source
        self._tokenizer_json = tokenizer
        self._run = run
        self._made_of = made_of

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an encoder's folder: its .onnx file, tokenizer.json, and how its tokens become a row.

        encoder.json says the last: {"pooling": "mean", "cls" or "none", "normalize": bool, "max_tokens": int,
        "output": name}. What it leaves out is read from sentence-transformers' files, where the folder has them.

        Args:
            path: of the folder.

        Returns:
            The encoder.

        Raises:
            ImportError: onnxruntime or tokenizers is not installed.
            ValueError: a file is missing or damaged, the network takes or gives something else, an axis is
                fixed that must be free, or nothing says how to pool.
        """
        folder = Path(path).absolute()
        onnx = files.onnx_file(folder)
        if onnx == folder:
            folder = folder.parent
        tokenizer_file = folder / "tokenizer.json"
        if not tokenizer_file.is_file():
            raise ValueError(
                f"{folder}: expected tokenizer.json, got none: tokenizers.Tokenizer.save, or save_pretrained of a "
                "fast tokenizer, writes it"
            )
        tokenizer = read_bytes(tokenizer_file, _MAX_TOKENIZER)
        chosen = {**sentence_transformers(folder), **files.read_settings(folder, _SETTINGS)}
        session, content = session_of(onnx)
        tensors = described(session)
        check_inputs(onnx, tensors["inputs"])
        settings = {
            "pooling": chosen.get("pooling"),
            "normalize": chosen.get("normalize", False),
            "max_tokens": chosen.get("max_tokens") or truncation(tokenizer, tokenizer_file),
            "output": files.chosen_output(onnx, tensors["outputs"], chosen.get("output")),
            "dimensions": 0,
            **tensors,
        }
        made_of = {
            ONNX_FILE: (onnx, hashlib.sha256(content).hexdigest()),
            TOKENIZER_FILE: (tokenizer_file, hashlib.sha256(tokenizer).hexdigest()),
        }
        if settings["max_tokens"] is None:
            raise ValueError(
                f"{folder}: nothing says how many tokens the network takes: write "
                f'{{"max_tokens": 512}} into {folder / files.SETTINGS_FILE}'
            )
        encoder = cls(settings, tokenizer, session.run, str(onnx), made_of)
        encoder._settle(folder / files.SETTINGS_FILE)
        return encoder

    def _settle(self, file: Path) -> None:
        """Look at what the network gives for a text, and settle pooling and width by it."""
        ids = next((ids for ids in (self._encoded(text).ids for text in ("a", "the", "1")) if ids), [0])
        raw = self._raw([ids])
        output, pooling = self.settings["output"], self.settings["pooling"]
        if pooling is None and raw.ndim == 3:
            raise ValueError(
                f"{self.source}: its output {output} has a row a token, and nothing says how they become one: "
                f'write {{"pooling": "mean"}}, or "cls" for the first token, into {file}'
            )
        pooling = pooling or "none"
        wanted = 2 if pooling == "none" else 3
        if raw.ndim != wanted or raw.dtype != np.float32 or len(raw) != 1:
            raise ValueError(
                f"{self.source}: pooling {pooling!r} takes an output float32 "
                f"{'(n, d)' if wanted == 2 else '(n, tokens, d)'}, got {output}, {raw.dtype} {raw.shape} for a text; "
                f"choose another pooling or output in {file}"
            )
        self.settings["pooling"] = pooling
        self.dimensions = self.settings["dimensions"] = raw.shape[-1]

    def __getstate__(self) -> dict[str, Any]:
        """Without session and tokenizer: what was pickled parts texts into tokens elsewhere, and runs nothing."""
        kept = {key: value for key, value in vars(self).items() if key != "_tokenizer"}
        return {**kept, "_run": not_here}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts (n) -> float32 (n, dimensions).

        Raises:
            ValueError: as `checked`; or the network gives something else than before, or what is not finite.
            ImportError: tokenizers is not installed.
        """
        return self._features([self._encoded(text).ids for text in checked(texts)])

    def _features(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        """Tokens of each text (n) -> (n, dimensions)."""
        features = np.zeros((len(tokens), self.dimensions), np.float32)
        lengths = np.array([len(ids) for ids in tokens], np.int64)
        for length in np.unique(lengths[lengths > 0]).tolist():
            same = np.flatnonzero(lengths == length)
            for start in range(0, len(same), _ROWS):
                rows = same[start : start + _ROWS]
                features[rows] = self._rows([tokens[row] for row in rows.tolist()])
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if bad.size:
            raise ValueError(f"{self.source} gives features that are not finite, first for text {bad[0]}")
        return features

    def _rows(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        """Tokens (n) of equal length -> (n, dimensions)."""
        raw = self._raw(tokens)
        pooling = self.settings["pooling"]
        rows = raw if pooling == "none" else pooled(raw, pooling, np.ones(raw.shape[:2], np.int64))
        if rows.shape != (len(tokens), self.dimensions):
            raise ValueError(
                f"{self.source} gives {raw.shape} for {len(tokens)} texts, expected rows of {self.dimensions}"
            )
        return unit_rows(rows) if self.settings["normalize"] else rows

    def _raw(self, tokens: list[list[int]]) -> NDArray[Any]:
        ids = np.array(tokens)
        values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        feed = {
            name: values[name].astype(tensor["dtype"]) for name, tensor in self.settings["inputs"].items()
        }
        try:
            return self._run([self.settings["output"]], feed)[0]
        except Exception as error:  # onnxruntime's own error types share no public base class
            raise ValueError(
                f"{self.source} cannot be run on {ids.shape[1]} tokens: {error}; if it takes fewer, set "
                f"max_tokens in {files.SETTINGS_FILE}"
            ) from error

    def cut(self, texts: Sequence[str]) -> int:
        """How many texts have more than `max_tokens`: what stands behind does not count.

        Args:
            texts: n strings.

        Returns:
            Their number.

        Raises:
            ValueError: as `checked`.
        """
        return sum(bool(self._encoded(text).overflowing) for text in checked(texts))

    def known(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """How many different tokens of each text the network knows; with 0 its code says nothing.

        Args:
            texts: n strings.

        Returns:
            (n,), int64.

        Raises:
            ValueError: as `checked`.
        """
        return np.array([len(self._words(text)[0]) for text in checked(texts)], np.int64)

    def unknown(self, texts: Sequence[str]) -> list[list[str]]:
        """What stands in each text that the tokenizer has no token for.

        Args:
            texts: n strings.

        Returns:
            n lists, each stretch once, in the order of the text.

        Raises:
            ValueError: as `checked`.
        """
        return [self._words(text)[1] for text in checked(texts)]

    def counted(self, text: str) -> tuple[Tokens, list[str]]:
        """What one text holds, of which `weighted` makes its features.

        Args:
            text: without lone surrogates; see `checked`.

        Returns:
            Its tokens; and what the tokenizer has no token for, each once, in their order.
        """
        encoded = self._encoded(text)
        known, unknown = self._parted(text, encoded)
        return Tokens(tuple(encoded.ids), len(known)), unknown

    def weighted(self, texts: Iterable[Tokens], rows: int) -> NDArray[np.float32]:
        """Tokens -> features.

        Args:
            texts: of `rows` texts, as `counted` gives them.
            rows: how many there are, n.

        Returns:
            (n, dimensions), float32.
        """
        return self._features([list(text.ids) for text in texts])

    def _words(self, text: str) -> tuple[set[int], list[str]]:
        return self._parted(text, self._encoded(text))

    def _parted(self, text: str, encoded: Any) -> tuple[set[int], list[str]]:
        known: set[int] = set()
        unknown: dict[str, None] = {}
        for token, is_special, (start, end) in zip(
            encoded.ids, encoded.special_tokens_mask, encoded.offsets, strict=True
        ):
            if token == self._unknown and start < end:
                unknown[text[start:end]] = None
            elif not is_special:
                known.add(token)
        return known, list(unknown)

    def _encoded(self, text: str) -> Any:
        # One by one: for batches the package starts threads, which do not come along into forked children.
        return self._tokenizer.encode(text)

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            import tokenizers
        except ImportError as error:
            raise ImportError(
                f"{self.source} takes strings by its tokenizer, which needs the package tokenizers: "
                "pip install 'scbch_keras[encoders]'"
            ) from error
        try:
            tokenizer = tokenizers.Tokenizer.from_buffer(self._tokenizer_json)
            tokenizer.no_padding()
            tokenizer.enable_truncation(self.settings["max_tokens"])
        except Exception as error:  # the package raises bare ones
            raise ValueError(f"the tokenizer of {self.source} cannot be read: {error}") from error
        return tokenizer

    @cached_property
    def _unknown(self) -> int | None:
        name = loads(self._tokenizer_json).get("model", {}).get("unk_token")
        return None if name is None else self._tokenizer.token_to_id(name)

    def config(self) -> dict[str, Any]:
        """What makes these features: the folder, the settings, and the sha256 of both files.

        Returns:
            Values that JSON can hold, from which `from_config` makes the encoder again.

        Raises:
            ValueError: it was opened from a release, not from a folder.
        """
        if self._made_of is None:
            raise ValueError(f"{self.source} has no folder of its own")
        digests = "".join(digest for _, digest in self._made_of.values())
        kept = {name: value for name, value in self.settings.items() if name not in ("inputs", "outputs")}
        return {
            "kind": "text encoder",
            "path": str(self._made_of[TOKENIZER_FILE][0].parent),
            "sha256": hashlib.sha256(digests.encode()).hexdigest(),
            **kept,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Open the encoder that a `config` describes, at its path.

        Args:
            config: from `config`.

        Returns:
            The encoder.

        Raises:
            ValueError: it is not there, or is another by now.
        """
        if not isinstance(config, Mapping) or config.get("kind") != "text encoder" or "path" not in config:
            raise ValueError(f"config is not one of TextEncoder.config, got {checks.shown(config)}")
        encoder = cls.open(config["path"])
        now = encoder.config()
        changed = next((key for key in now if now[key] != config.get(key)), None)
        if changed is not None:
            raise ValueError(
                f"config: {config['path']} is not what it was: {changed} {now[changed]}, expected {config.get(changed)}"
            )
        return encoder

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write text_encoder.json, text_encoder.onnx and text_tokenizer.json, from which `load` makes it again.

        Args:
            folder: an existing folder.

        Raises:
            ValueError: a file has changed since it was opened, or this encoder was opened from a release.
        """
        files.copy_files(self.source, self._made_of, Path(folder))
        write_json(Path(folder, ENCODER_FILE), _STORED.marked(self.settings))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote, or a release has.

        Args:
            folder: where the files are.

        Returns:
            The encoder that was saved.

        Raises:
            ValueError: the files are something else, or damaged.
        """
        path = Path(folder)
        settings = read_settings(read_bytes(path / ENCODER_FILE, 2**20), str(path / ENCODER_FILE))
        tokenizer = read_bytes(path / TOKENIZER_FILE, _MAX_TOKENIZER)
        session, _ = session_of(path / ONNX_FILE)
        return cls(settings, tokenizer, session.run, str(path / ONNX_FILE))


def read_settings(content: bytes, source: str) -> dict[str, Any]:
    """What `TextEncoder.save` wrote to text_encoder.json. Raises ValueError if it is something else."""
    with _STORED.reading(source):
        stored = _STORED.unmarked(loads(content))
        for name, check in _SETTINGS.items():
            check(name, stored[name])
        files.check_count("dimensions", stored["dimensions"])
        check_inputs(source, stored["inputs"])
        if stored["output"] not in stored["outputs"]:
            raise ValueError(f"it has no output {stored['output']!r}")
        return stored
