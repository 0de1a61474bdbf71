"""A release on its own: whole, working, and good enough to serve; and the marks that say so."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras import files
from scbch_keras.checks import share
from scbch_keras.child import run_module
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.format.encoder_inputs import encoder_inputs, inputs_shape
from scbch_keras.export.validation.evaluation import Evaluation
from scbch_keras.export.validation.quantization_loss import refusals
from scbch_keras.features import Features, check_shape, flat, sizes_of
from scbch_keras.modalities import MODALITIES


@dataclass(frozen=True)
class Validation:
    """How a validation ended.

    path: the release.
    infra: what is wrong with its files, or with what they compute; a sentence each.
    quality: why it finds too badly, a sentence each.
    map: format -> mAP {"i2t", "t2i", "mean"} of its encoders; None if none was measured.
    """

    path: Path
    infra: tuple[str, ...]
    quality: tuple[str, ...]
    map: Mapping[str, Mapping[str, float]] | None

    @property
    def blessed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.infra and not self.quality


@dataclass(frozen=True)
class Criteria:
    """How well a release must find.

    evaluation: the queries and the database; None: nothing is measured, and nothing asked.
    min_map: least mean of both directions, in [0, 1].
    baseline: folder of the release it is compared with; None: the one at which `latest` beside it points.
    max_map_loss: by how much the mean mAP may lie below the baseline's, in [0, 1]; None: it is not compared.
    """

    evaluation: Evaluation | None = None
    min_map: float | None = None
    baseline: Path | None = None
    max_map_loss: float | None = 0.0

    def __post_init__(self) -> None:
        if self.evaluation is not None and not isinstance(self.evaluation, Evaluation):
            raise TypeError(
                "evaluation must be an Evaluation (Evaluation.of(query, database)), "
                f"got {type(self.evaluation).__name__}"
            )
        for name in ("min_map", "max_map_loss"):
            share(name, getattr(self, name), optional=True)
        for name in ("min_map", "baseline"):
            if getattr(self, name) is not None and self.evaluation is None:
                raise ValueError(f"{name} needs evaluation: without queries no mAP can be measured")

    def check_shapes(self, shapes: Mapping[str, Any]) -> None:
        """Refuse an evaluation with features that encoders of these input shapes do not take. Raises ValueError."""
        for part in () if self.evaluation is None else ("query", "database"):
            for modality, features in getattr(self.evaluation, part).features.items():
                try:
                    check_shape(modality, sizes_of(features), shapes[modality])
                except ValueError as error:
                    raise ValueError(f"evaluation: {part}: {error}") from error


def validate(
    path: str | os.PathLike[str],
    *,
    evaluation: Evaluation | None = None,
    min_map: float | None = None,
    baseline: str | os.PathLike[str] | None = None,
    max_map_loss: float | None = 0.0,
    tolerance: float = 1e-5,
    modules: Sequence[str] = (),
) -> Validation:
    """Validate a release in a fresh process, leave the marks in its folder and the reasons in its manifest.

    Checked are the files and their checksums, that nothing else lies there, that every signature and ONNX file runs
    on 0, 1, 7 and up to 1000 rows, and that they give the codes of model.keras, which is loaded on TensorFlow; ONNX
    files alone may refuse 0 rows. With an evaluation also the mAP of each format. Quantized encoders are held to what
    they lose against float32: mAP points, or without an evaluation the share of changed bits.

    Left behind are the empty files BLESSED or NOT_BLESSED (how well it finds) and INFRA_BLESSED or
    INFRA_NOT_BLESSED (all else). A validation that is killed leaves none, which is not blessed.

    Args:
        path: of the release: `releases/icons/3`, or `releases/icons/latest`, which is followed.
        evaluation: queries and a database with true labels.
        min_map: least mean of both directions' mAP, in [0, 1].
        baseline: folder of the release it is compared with; None: the one at which `latest` beside `path` points,
            if that is another.
        max_map_loss: by how much the mean mAP may lie below the baseline's; None: it is not compared.
        tolerance: by how much codes in [-1, 1] may differ; as in `release`.
        modules: modules of the user's own that register layers of model.keras.

    Returns:
        What was measured, and why the release is not blessed, if it is not.

    Raises:
        FileNotFoundError: no release there.
        ImportError: a package that opens the release is missing.
        TypeError, ValueError: a wrong argument.
    """
    path = Path(path).resolve()
    criteria = Criteria(evaluation, min_map, None if baseline is None else Path(baseline), max_map_loss)
    check_tolerance(tolerance)
    if not (path / manifests.NAME).is_file():
        manifests.read(path)  # says what is missing
    manifest: dict[str, Any] | None = None
    answer: dict[str, Any] = {}
    damaged: list[str] = []
    try:
        manifest = manifests.read(path)
        shapes = {m: inputs_shape(m, encoder_inputs(manifest, m)) for m in MODALITIES}
    except (ValueError, KeyError, TypeError) as error:
        damaged = [str(error) if isinstance(error, ValueError) else f"{path / manifests.NAME} lacks {error}"]
    else:
        criteria.check_shapes(shapes)
        _need(manifest)
    _unmark(path)
    if manifest is not None and not damaged:
        damaged = manifests.wrong_files(path, manifest)
    if not damaged:
        try:
            answer = examine(path, criteria, tolerance, modules)
            damaged = answer["wrong"]
        except RuntimeError as error:
            damaged = [str(error)]
    validation = judge(path, damaged, answer, criteria)
    if manifest is not None:
        manifests.write(path, {**manifest, "validation": record(validation, criteria, answer)})
    mark(validation)
    return validation


def examine(
    path: Path,
    criteria: Criteria,
    tolerance: float,
    modules: Sequence[str] = (),
    expected: Mapping[str, Features] | None = None,
) -> dict[str, Any]:
    """What a fresh process finds in the release: {"encoders", "wrong", "losses", "map", "baseline"}.

    expected: of `expected_codes`; None: model.keras is asked.
    Raises RuntimeError if the process fails.
    """
    with tempfile.TemporaryDirectory() as exchange:
        request: dict[str, Any] = {"tolerance": float(tolerance), "expected": None, "evaluation": None}
        baseline = _baseline(path, criteria)
        request["baseline"] = None if baseline is None else str(baseline)
        if expected is not None:
            request["expected"] = str(Path(exchange, "expected.npz"))
            arrays = {
                key: v for name, features in expected.items() for key, v in flat(name, features).items()
            }
            np.savez(request["expected"], allow_pickle=False, **arrays)
        if criteria.evaluation is not None:
            request["evaluation"] = str(Path(exchange, "evaluation.npz"))
            criteria.evaluation.save(request["evaluation"])
        request_file, result = Path(exchange, "request.json"), Path(exchange, "result.json")
        request_file.write_text(json.dumps(request), encoding="utf-8")
        run_module(
            "scbch_keras.export.validation.verify",
            [str(path), "--request", str(request_file), "--result", str(result), "--modules", *modules],
            "verifying the exported files",
        )
        answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return answer


def judge(path: Path, wrong: Sequence[str], answer: Mapping[str, Any], criteria: Criteria) -> Validation:
    """Compare the results of `examine` with the criteria."""
    if wrong:
        return Validation(path, tuple(wrong), ("not measured: the release does not work",), None)
    # What was quantized is held to its own float32 form, and that form to the criteria.
    exact = {f: score for f, score in (answer["map"] or {}).items() if f not in manifests.QUANTIZED}
    quality = refusals(answer["losses"])
    for form, score in exact.items():
        mean = score["mean"]
        if criteria.min_map is not None and mean < criteria.min_map:
            quality.append(f"{form}: mAP {mean:.4f} is below min_map, {criteria.min_map:g}")
    baseline = answer["baseline"]
    if baseline is not None and "error" in baseline:
        quality.append(
            f"the release to compare with, {baseline['path']}, cannot be scored on this evaluation: "
            f"{baseline['error']} (max_map_loss=None leaves the comparison out)"
        )
    elif baseline is not None:
        best = max(score["mean"] for score in baseline["map"].values())
        for form, score in exact.items():
            if score["mean"] < best - (criteria.max_map_loss or 0):
                quality.append(
                    f"{form}: mAP {score['mean']:.4f} is more than {criteria.max_map_loss:g} below the {best:.4f} "
                    f"of {baseline['path']}"
                )
    return Validation(path, (), tuple(quality), answer["map"])


def record(validation: Validation, criteria: Criteria, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The validation, for the manifest."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "blessed": validation.blessed,
        "infra": {"blessed": not validation.infra, "reasons": list(validation.infra)},
        "quality": {
            "blessed": not validation.quality,
            "reasons": list(validation.quality),
            "min_map": criteria.min_map,
            "max_map_loss": criteria.max_map_loss,
            "baseline": answer.get("baseline"),
        },
        "evaluation": described_evaluation(criteria, answer),
        "encoders": answer.get("encoders", {}),
        "losses": answer.get("losses", {}),
    }


def described_evaluation(criteria: Criteria, answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was measured and on how much, for the manifest; None if nothing was."""
    if criteria.evaluation is None or not answer.get("map"):
        return None
    query, database = criteria.evaluation.query.labels, criteria.evaluation.database.labels
    sizes = {"queries": len(query), "database": len(database), "labels": query.shape[1]}
    return {**sizes, "map": answer["map"]}


def mark(validation: Validation) -> None:
    """Leave the marks; the release counts as blessed with the last of them."""
    infra = "INFRA_NOT_BLESSED" if validation.infra else "INFRA_BLESSED"
    quality = "NOT_BLESSED" if validation.quality else "BLESSED"
    for name in (infra, quality):
        (validation.path / name).touch()
    files.sync(validation.path)


def check_tolerance(tolerance: Any) -> None:
    """Refuse what is no number in [0, 1). Raises ValueError."""
    share("tolerance", tolerance, below=True)


def _unmark(path: Path) -> None:
    """Take all marks away, and what a killed validation left of a manifest."""
    for name in manifests.MARKERS:
        (path / name).unlink(missing_ok=True)
    for leftover in path.glob(f".{manifests.NAME}-*"):
        leftover.unlink()
    files.sync(path)


def _baseline(path: Path, criteria: Criteria) -> Path | None:
    if criteria.evaluation is None or criteria.max_map_loss is None:
        return None
    folder = path.parent / manifests.LATEST if criteria.baseline is None else criteria.baseline
    baseline = folder.resolve()
    if criteria.baseline is None and (not baseline.exists() or baseline == path):
        return None
    return baseline


def _need(manifest: Mapping[str, Any]) -> None:
    needed = ["keras", "tensorflow"]
    if "onnx" in manifest.get("formats", ()):
        needed.append("onnxruntime")
    if manifests.RAW_TEXT in manifest["encoders"] and "saved_model" in manifest.get("formats", ()):
        needed.append("tensorflow_text")
    if manifests.TEXT_ENCODER in manifest["encoders"]:
        needed.append("tokenizers")
    if {manifests.RAW_IMAGE, manifests.IMAGE_ENCODER} & manifest["encoders"].keys():
        needed.append("PIL")
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        raise ImportError(
            f"validating this release needs {', '.join(missing)}: pip install "
            "'scbch_keras[export,onnx,pictures,encoders]'"
        )
