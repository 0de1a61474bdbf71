"""The model card of a release: its manifest as a page for people. Nothing in it is written by hand."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scbch_keras.export.format import manifest as manifests
from scbch_keras.safe_text import markdown, markdown_code, terminal

_SHOWN_LABELS = 200


def model_card(manifest: Mapping[str, Any]) -> str:
    """The Markdown of MODEL_CARD.md."""
    name, bits = manifest["name"], manifest["bits"]
    parts = [
        _front_matter(manifest),
        f"# {markdown(name)}, version {manifest['version']}\n",
        f"A {markdown(manifest['method'])} model: images and texts become binary codes of {bits} bits, so that a "
        "picture and a text that share labels have a small Hamming distance. Released "
        f"{markdown(manifest['created'])}, trained on the Keras backend {markdown(manifest['training_backend'])}. "
        f"This page is made from `{manifests.NAME}`.\n",
        "## Inputs and outputs\n",
        *_signatures(manifest),
        "## Codes\n",
        f"{bits} bits in {manifest['packing']['bytes']} bytes ({manifest['packing']['dtype']}). "
        f"{_sentence(manifest['packing']['rule'])} {_sentence(manifest['packing']['order'])}\n",
        *_text(manifest),
        *_pictures(manifest),
        "## Labels\n",
        _labels(manifest["label_names"]),
        "## Training\n",
        *_facts(manifest["training"]),
        "## How well it finds\n",
        *_metrics(manifest["evaluation"]),
        "## Limits\n",
        *_limits(manifest),
        "## Serving\n",
        *_serving(manifest),
        "## How it was verified\n",
        *_verification(manifest["verification"]),
        *_losses(manifest),
        "## Made with\n",
        ", ".join(markdown(f"{library} {version}") for library, version in manifest["libraries"].items())
        + "\n",
    ]
    return "\n".join(parts)


def _front_matter(manifest: Mapping[str, Any]) -> str:
    """What model hubs read, as YAML. License and language stand there if the training's facts name them."""
    facts = manifest["training"]
    told: dict[str, Any] = {
        **{key: facts[key] for key in ("license", "language") if isinstance(facts.get(key), str)},
        "library_name": "scbch_keras",
        "pipeline_tag": "feature-extraction",
        "tags": [
            *("cross-modal-retrieval", "image-text-retrieval", "hashing", "keras"),
            *sorted(name.replace("_", "-") for name in manifest["formats"]),
        ],
    }
    if manifest["evaluation"] is not None:
        told |= {"metrics": ["map"], "model-index": [_evaluated(manifest)]}
    return "---\n" + "".join(f"{line}\n" for line in _yaml(told)) + "---\n"


def _evaluated(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the hub's model-index."""
    data = manifest["training"].get("data")
    title = data.get("title") if isinstance(data, Mapping) else None
    directions = {"i2t": "image to text", "t2i": "text to image"}
    return {
        "name": manifest["name"],
        "results": [
            {
                "task": {"type": "feature-extraction", "name": "Image-text retrieval by Hamming distance"},
                "dataset": {"type": "other", "name": title or "the evaluation data of the release"},
                "metrics": [
                    {"type": "map", "name": f"mAP, {directions[key]}, {form}", "value": float(score[key])}
                    for form, score in manifest["evaluation"]["map"].items()
                    for key in directions
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
    told = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in told)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of cells in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _tensors(tensors: Mapping[str, Any]) -> str:
    told = []
    for key, tensor in tensors.items():
        shape = ", ".join("n" if size is None else str(size) for size in tensor["shape"])
        told.append(f"{markdown_code(key)} {markdown(tensor['dtype'])} ({shape})")
    return ", ".join(told)


def _signatures(manifest: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (markdown_code(name), _tensors(signature["inputs"]), _tensors(signature["outputs"]))
        for name, signature in manifest["signatures"].items()
    ]
    yield _table(("signature", "takes", "gives"), rows)
    features = manifest["signatures"].get("serving_default", {}).get("features")
    if features:
        lists = [
            (markdown_code(key), f"{spec['values']} float values, shape {tuple(spec['shape'])} in C order")
            for key, spec in features.items()
        ]
        yield "`examples` are serialized tf.Example; each feature may be absent:\n"
        yield _table(("feature", "holds"), lists)


def _text(manifest: Mapping[str, Any]) -> Iterator[str]:
    raw = manifest["encoders"].get(manifests.RAW_TEXT)
    if raw:
        pipeline = raw["pipeline"]
        yield "## Words\n"
        yield (
            f"Strings become features by the {pipeline['words']} words of {markdown_code(pipeline['path'])} (weighting "
            f"{pipeline['weighting']}), with Unicode {pipeline['normalization']['unicode']}: "
            f"{pipeline['normalization']['rule']}. Words are "
            f"{pipeline['normalization']['words']}.\n"
        )


def _pictures(manifest: Mapping[str, Any]) -> Iterator[str]:
    raw = manifest["encoders"].get(manifests.RAW_IMAGE)
    if raw:
        pipeline = raw["pipeline"]
        height, width = pipeline["size"]
        features = (
            "their grey values" if pipeline["backbone"] is None else markdown_code(pipeline["backbone"])
        )
        yield "## Pictures\n"
        yield (
            f"Pictures become {height} x {width} pixels, and features by {features}. "
            f"{_sentence(pipeline['preparation']['rule'])}\n"
        )


def _labels(names: Sequence[str] | None) -> str:
    if names is None:
        return "The names of the labels were not given.\n"
    more = "" if len(names) <= _SHOWN_LABELS else f", and {len(names) - _SHOWN_LABELS} more"
    return f"{len(names)}: " + ", ".join(map(markdown, names[:_SHOWN_LABELS])) + more + "\n"


def _facts(facts: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (
            markdown_code(key),
            markdown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)),
        )
        for key, value in _flat(facts)
    ]
    yield _table(("what", "value"), rows) if rows else "Nothing is recorded.\n"


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _metrics(evaluation: Mapping[str, Any] | None) -> Iterator[str]:
    if evaluation is None:
        yield "Not measured: the release was made without an evaluation.\n"
        return
    yield (
        f"mAP over the whole database of the exported encoders, {evaluation['queries']} queries on "
        f"{evaluation['database']} items with {evaluation['labels']} labels. An item is relevant to a query if "
        "they share a label.\n"
    )
    rows = [
        (markdown(form), *(f"{score[key]:.4f}" for key in ("i2t", "t2i", "mean")))
        for form, score in evaluation["map"].items()
    ]
    yield _table(("format", "image to text", "text to image", "mean"), rows)


def _limits(manifest: Mapping[str, Any]) -> Iterator[str]:
    limits = ["Codes of other models, or of other versions, cannot be compared with these."]
    if "onnx" in manifest["formats"]:
        refusing = [
            markdown_code(what)
            for what, found in manifest["verification"]["encoders"].items()
            if 0 not in found["batches"]
        ]
        if refusing:
            limits.append(f"At least one row a call: {', '.join(refusing)}.")
    for raw, told in ((manifests.RAW_TEXT, "strings"), (manifests.RAW_IMAGE, "pictures")):
        for form, entry in manifest["encoders"].get(raw, {}).items():
            if form in manifests.FORMATS:
                limits.append(f"{markdown_code(form)} of {told}: {markdown(entry['input'])}.")
    if manifest["evaluation"] is None:
        limits.append("How well it finds was not measured.")
    yield "".join(f"- {limit}\n" for limit in limits)


def _serving(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield "Run in the folder of this file.\n"
    described = manifest["layouts"]
    if "onnx" in manifest["formats"]:
        yield _command(
            "Python, with numpy and onnxruntime",
            "python -c \"from scbch_keras.export import HashEncoder; print(HashEncoder('.'))\"",
        )
        yield _command(
            "Triton",
            f'docker run --rm -p 8000:8000 -v "$PWD/{described["triton"]["model_repository"]}:/models" '
            "nvcr.io/nvidia/tritonserver:<tag>-py3 tritonserver --model-repository=/models",
        )
        yield f"Models: {', '.join(markdown_code(model) for model in described['triton']['models'])}.\n"
        yield from _raw_strings(described)
    if "saved_model" in manifest["formats"]:
        serving = described["tensorflow_serving"]
        yield _command(
            "TensorFlow Serving",
            f"tensorflow_model_server --rest_api_port=8501 --model_name={shlex.quote(serving['model_name'])} "
            f'--model_base_path="$PWD/{serving["model_base_path"]}"',
        )
        yield "KServe (`storageUri` is wherever this folder was copied to):\n"
        yield (
            "```yaml\n"
            "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata:\n"
            f"  name: {manifest['name'].lower().replace('_', '-').strip('-')}\nspec:\n  predictor:\n    model:\n"
            f"      modelFormat:\n        name: {described['kserve']['model_format']}\n"
            f"      storageUri: pvc://<claim>/<path to this folder>/{described['kserve']['storage']}\n```\n"
        )


def _raw_strings(described: Mapping[str, Any]) -> Iterator[str]:
    if "triton_strings" in described:
        strings = described["triton_strings"]
        yield (
            f"Strings that enter `{manifests.RAW_TEXT_ONNX}`, in Triton too, must be normalised before: raw ones give "
            f"wrong codes without an error. `{described['javascript']['module']}` does that in JavaScript, "
            "`TextPipeline.normalize` in Python. On Triton "
            f"the model `{strings['model']}` takes raw strings, with {' and '.join(strings['needs'])} in the server's "
            f"Python (3.11 or later): `--model-repository=.../{strings['model_repository']}`.\n"
        )


def _command(title: str, line: str) -> str:
    return f"{title}:\n\n```bash\n{terminal(line)}\n```\n"


def _verification(verification: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "A fresh process opened each encoder and compared its codes, on seeded inputs, with those of the model in "
        f"the session that released it. Codes in [-1, 1] may differ by {verification['tolerance']:g}; a bit may differ "
        "only where the model's code is that close to zero.\n"
    )
    rows = [
        (
            markdown_code(what),
            ", ".join(map(str, found["batches"])),
            found["bits_compared"],
            found.get("bits_near_zero", "any"),
            found["bits_different"],
            f"{found['largest_code_difference']:.1e}",
        )
        for what, found in verification["encoders"].items()
    ]
    head = ("encoder", "batches", "bits compared", "near zero", "different", "largest difference of a code")
    yield _table(head, rows)


def _losses(manifest: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (
            markdown_code(entry["path"]),
            f"{entry['changed_bits']:.3%}",
            f"{entry['map_loss']:.3f}" if "map_loss" in entry else "not measured",
        )
        for encoder in manifest["encoders"].values()
        for form, entry in encoder.items()
        if form in manifests.QUANTIZED
    ]
    if rows:
        yield (
            "Encoders in less precision are held to no tolerance. What they lose against float32, in mAP points of "
            "both modalities together (the worse direction):\n"
        )
        yield _table(("encoder", "bits changed", "mAP lost"), rows)
