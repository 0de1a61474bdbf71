"""The model card of a release: its manifest as a page for people. Nothing in it is written by hand."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scbch_keras.export.format import manifest as manifests
from scbch_keras.modalities import DIRECTIONS
from scbch_keras.templates import markdown_templates

_SHOWN_LABELS = 200


def model_card(manifest: Mapping[str, Any]) -> str:
    """The Markdown of MODEL_CARD.md."""
    verified = manifest["verification"]["encoders"]
    environment = markdown_templates(Path(__file__).with_name("templates"))
    environment.filters["quote"] = shlex.quote
    return environment.get_template("MODEL_CARD.md").render(
        manifest,
        front_matter=_front_matter(manifest),
        manifest_name=manifests.NAME,
        raw_text_name=manifests.RAW_TEXT,
        raw_text_onnx=manifests.RAW_TEXT_ONNX,
        raw_image_name=manifests.RAW_IMAGE,
        known_formats=manifests.FORMATS,
        directions=DIRECTIONS,
        shown_labels=_SHOWN_LABELS,
        facts=list(_flat(manifest["training"])),
        refusing=[what for what, result in verified.items() if 0 not in result["batches"]]
        if "onnx" in manifest["formats"]
        else [],
        quantized=[
            entry
            for encoder in manifest["encoders"].values()
            for form, entry in encoder.items()
            if form in manifests.QUANTIZED
        ],
    )


def _front_matter(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What model hubs read, as YAML. License and language stand there if the training's facts name them."""
    facts = manifest["training"]
    entries: dict[str, Any] = {
        **{key: facts[key] for key in ("license", "language") if isinstance(facts.get(key), str)},
        "library_name": "scbch_keras",
        "pipeline_tag": "feature-extraction",
        "tags": [
            *("cross-modal-retrieval", "image-text-retrieval", "hashing", "keras"),
            *sorted(name.replace("_", "-") for name in manifest["formats"]),
        ],
    }
    if manifest["evaluation"] is not None:
        entries |= {"metrics": ["map"], "model-index": [_evaluated(manifest)]}
    return _yaml(entries)


def _evaluated(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the hub's model-index."""
    data = manifest["training"].get("data")
    title = data.get("title") if isinstance(data, Mapping) else None
    return {
        "name": manifest["name"],
        "results": [
            {
                "task": {"type": "feature-extraction", "name": "Image-text retrieval by Hamming distance"},
                "dataset": {"type": "other", "name": title or "the evaluation data of the release"},
                "metrics": [
                    {
                        "type": "map",
                        "name": f"mAP, {' to '.join(modalities)}, {form}",
                        "value": float(score[key]),
                    }
                    for form, score in manifest["evaluation"]["map"].items()
                    for key, modalities in DIRECTIONS.items()
                ],
            }
        ],
    }


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Lines of block YAML for mappings, lists, strings and numbers; all strings but keys are quoted."""
    items = value.items() if isinstance(value, Mapping) else ((None, item) for item in value)
    for key, item in items:
        head = f"{indent}-" if key is None else f"{indent}{key}:"
        if isinstance(item, Mapping | list):
            yield head
            yield from _yaml(item, indent + "  ")
        else:
            yield f"{head} {_scalar(item)}"


def _scalar(value: Any) -> str:
    """A string in double quotes, whatever is in it, or a number: JSON, whose escapes YAML reads too."""
    if isinstance(value, float):
        return f"{value:.6f}"  # 1e-05 would be a string in YAML 1.1
    quoted = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """(names joined by dots, value): text as it is, the rest as JSON."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
