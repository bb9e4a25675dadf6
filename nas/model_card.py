"""The card of an exported model: a README.md with the front matter that Hugging Face reads."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nas.bundle import RESEARCH_USE, Bundle, telling
from nas.bundle.telling import MEASURES, printable
from nas.genome.brief import brief
from nas.paired_text import paired_lines

TAGS = ("medical-imaging", "neural-architecture-search", "image-classification", "pytorch")
NOT_SAID = "not said"

USE = """\
For research on image classification: comparing methods, reproducing figures, teaching. Not for the
diagnosis, screening, triage or treatment of anybody, and not as a second reader. Not for images of
another kind than the data below: other body parts, views, ages or devices."""

LOADING = """\
With this project, which decodes an image file exactly as it was done in training:

```python
from pathlib import Path
from nas.predictor import Predictor

predictor = Predictor.load(Path("{model}"))
prediction = predictor.predict([Path("image.png").read_bytes()])[0]
print(prediction.label, prediction.probabilities)
```

`python -m nas.bundle verify {model}` says whether the file is whole, and what it is.
`sha256sum --check SHA256SUMS` compares all files of this folder with their checksums.
"""

ONNX = """\
With ONNX Runtime alone, from decoded and resized pixels; normalisation and calibration are within:

```python
import json
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{onnx}")
pixels = np.zeros((1, {channels}, {size}, {size}), dtype=np.uint8)  # your images, any number
(probabilities,) = session.run(["probabilities"], {{"pixels": pixels}})
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
```
"""


def model_card(bundle: Bundle, evaluation: Mapping[str, Any], files: Sequence[str]) -> str:
    """The card's text.

    Args:
        bundle: the exported model.
        evaluation: what evaluation.json holds; the first of its models is the exported one.
        files: names of the files beside the card.
    """
    parts = [_front_matter(bundle, evaluation), *_body(bundle, evaluation, files)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _body(bundle: Bundle, evaluation: Mapping[str, Any], files: Sequence[str]) -> Iterator[str]:
    name = _name(evaluation)
    yield f"# {name}"
    yield f"**{RESEARCH_USE}**"
    if _data(bundle).get("synthetic"):
        yield "**TRAINED ON SYNTHETIC IMAGES: its answers say nothing about real ones.**"
    yield "## What it is"
    yield _networks(bundle)
    yield f"## Intended use\n\n{USE}"
    yield f"## Data\n\n{_facts(_data(bundle))}"
    yield f"## How it was found\n\n{_facts(bundle.card.get('search'))}"
    yield "## Figures on the test split"
    yield _figures(bundle, evaluation)
    if evaluation.get("comparisons"):
        lines = [f"- {_cell(line)}" for line in paired_lines(evaluation)]
        yield "## Against the baselines, on the same images\n\n" + "\n".join(lines)
    if domains := evaluation["models"][_name(evaluation)].get("domains"):
        yield f"## By domain\n\n{_domains(domains)}"
    if finals := bundle.card.get("finals"):
        yield f"## Before the test split was read\n\n{_outside(finals)}"
    yield f"## Limits\n\n{_limits(bundle, evaluation)}"
    yield "## How to use it"
    yield LOADING.format(model=f"{name}.pth")
    if (onnx := f"{name}.onnx") in files:
        shape = bundle.image
        yield ONNX.format(onnx=onnx, channels=shape.channels, size=shape.height)
    yield "## Files\n\n" + "\n".join(f"- `{file}`" for file in files)


def _name(evaluation: Mapping[str, Any]) -> str:
    return str(next(iter(evaluation["models"])))


def _data(bundle: Bundle) -> Mapping[str, Any]:
    data: Mapping[str, Any] = bundle.card.get("data", {})
    return data


def _networks(bundle: Bundle) -> str:
    count, classes = len(bundle.members), len(bundle.classes)
    kind = "One convolutional network that a search found"
    if count > 1:
        kind = (
            f"{count} convolutional networks that a search found; their probabilities, each a "
            "softmax of logits / temperature, are averaged"
        )
    lines = [f"{kind}.", ""]
    texts = [f"{telling.size_of(m, classes)}: `{brief(m.genome)}`" for m in bundle.members]
    for text, times in Counter(texts).items():  # finals' networks are of one genome
        lines.append(f"- {text}" if times == 1 else f"- {times} of {text}")
    lines += [
        "",
        f"- images: {telling.images(bundle)}",
        f"- classes: {', '.join(map(_cell, bundle.classes))}",
        f"- decision: {_cell(telling.decision(bundle))}",
        f"- calibration: {_cell(telling.calibration(bundle))}",
        f"- weights: SHA-256 {bundle.weights_sha256}",
    ]
    return "\n".join(lines)


def _facts(values: object) -> str:
    """What is said in single values, as a list; longer parts are in the model's own card."""
    if not isinstance(values, Mapping):
        return NOT_SAID
    lines = []
    for name, value in values.items():
        if isinstance(value, str | int | float) and value != "":
            shown = f"{value:.4g}" if isinstance(value, float) else _cell(value)
            if isinstance(value, bool):
                shown = "yes" if value else "no"
            lines.append(f"- {_cell(name.replace('_', ' '))}: {shown}")
    return "\n".join(lines) or NOT_SAID


def _figures(bundle: Bundle, evaluation: Mapping[str, Any]) -> str:
    models: Mapping[str, Any] = evaluation["models"]
    scored = {name: values for name, values in models.items() if "missing" not in values}
    lines = [
        "Of images that search and training did not read. In brackets: 95 % intervals, where there "
        "are any.",
        "",
        "| | " + " | ".join(_cell(name) for name in scored) + " |",
        "|---" * (1 + len(scored)) + "|",
        "| n | " + " | ".join(_cell(values.get("n", "")) for values in scored.values()) + " |",
    ]
    texts = {
        name: {figure.name: figure.text for figure in telling.figures(values)}
        for name, values in scored.items()
    }
    for measure, (label, _) in MEASURES.items():
        if any(measure in found for found in texts.values()):
            cells = (found.get(measure, "") for found in texts.values())
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    for label, key in (("parameters", "parameters"), ("multiply-adds", "multiply_adds")):
        cells = (_count(values.get(key)) for values in scored.values())
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    if len(bundle.classes) == 2:
        lines += ["", f"Positive is {_cell(bundle.classes[1])}."]
    count, _ = telling.readings(models[_name(evaluation)])
    if count is not None:
        lines += ["", f"The test split was read for this model: {count} time(s)."]
    for name, values in models.items():
        if "missing" in values:
            lines += ["", f"{_cell(name)} is missing: {_cell(values['missing'])}."]
    return "\n".join(lines)


def _domains(domains: Mapping[str, Any]) -> str:
    lines = ["| | n | accuracy | sensitivity | specificity |", "|---" * 5 + "|"]
    for name, values in domains.items():
        cells = [f"{values['n']}"]
        for measure in ("accuracy", "sensitivity", "specificity"):
            value, interval = values.get(measure), values.get(f"{measure}_interval")
            text = "" if value is None else f"{value:.3f}"
            if interval is not None:
                text += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
            cells.append(text)
        lines.append(f"| {_cell(name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _outside(finals: Mapping[str, Any]) -> str:
    """What was known when the model was chosen: figures of images that no network of it saw."""
    lines = [
        f"- Its genome was chosen among {len(finals['standings'])} by trainings of "
        f"{finals['epochs']} epochs that held out {', '.join(map(_cell, finals['divisions']))}."
    ]
    shown = ", ".join(
        f"{figure.label} {figure.text}" for figure in telling.figures(finals["out_of_fold"])
    )
    lines.append(f"- Out of fold, n = {finals['out_of_fold']['n']:,}: {shown}.")
    if fit := finals.get("calibration"):
        lines.append(
            f"- Calibration error {fit['ece_before']:.3f} before the temperature, "
            f"{fit['ece_after']:.3f} after."
        )
    return "\n".join(lines)


def _limits(bundle: Bundle, evaluation: Mapping[str, Any]) -> str:
    values = evaluation["models"][_name(evaluation)]
    size = bundle.preprocessing.size
    lines = [
        f"The figures are of {values.get('n')} images of one collection. Their intervals tell what "
        "chance does with such images, not what another hospital, device or time does.",
        "Every image gets an answer, also one that is no radiograph: nothing warns of an image "
        "unlike those it was trained on.",
        f"It sees {size} × {size} pixels; what is smaller than one of them is lost.",
    ]
    if bundle.calibration.method == "none":
        lines.append("Its probabilities were not calibrated: read them as an order, not as shares.")
    else:
        lines.append(
            "Its probabilities hold where classes are as frequent as among the images that the "
            "temperature was fitted on."
        )
    if _data(bundle).get("leaks"):
        lines.append("Splits of the data share patients or images; the figures are too good.")
    _, warning = telling.readings(values)
    if warning:
        lines.append(f"{_cell(warning[0].upper() + warning[1:])}.")
    return "\n".join(f"- {line}" for line in lines)


def _front_matter(bundle: Bundle, evaluation: Mapping[str, Any]) -> str:
    values = evaluation["models"][_name(evaluation)]
    data = _data(bundle)
    metrics = [
        {"type": kind, "name": figure.label, "value": figure.value}
        for figure in telling.figures(values)
        if (kind := MEASURES[figure.name][1]) is not None
    ]
    collection = printable(data.get("name") or NOT_SAID)
    result = {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {"type": collection, "name": collection, "split": "test"},
        "metrics": metrics,
    }
    matter: dict[str, Any] = {
        # Of the weights; whoever publishes them chooses one. The data's is in the text.
        "license": "unknown",
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": [*TAGS, *(["synthetic"] if data.get("synthetic") else [])],
        "metrics": [entry["type"] for entry in metrics],
        "model-index": [{"name": _name(evaluation), "results": [result]}],
    }
    return "\n".join(["---", *_yaml(matter), "---"])


def _yaml(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """YAML of mappings, lists and JSON's single values; a JSON string is one of YAML too."""
    for name, inner in value.items():
        match inner:
            case Mapping():
                yield f"{indent}{name}:"
                yield from _yaml(inner, indent + "  ")
            case list() if inner:
                yield f"{indent}{name}:"
                for item in inner:
                    if isinstance(item, Mapping):
                        first, *more = _yaml(item, indent + "    ")
                        yield f"{indent}  - {first.strip()}"
                        yield from more
                    else:
                        yield f"{indent}  - {json.dumps(item, ensure_ascii=False)}"
            case _:
                yield f"{indent}{name}: {json.dumps(inner, ensure_ascii=False)}"


def _cell(value: object) -> str:
    """Text that is no Markdown, not even in a table."""
    text = printable(value)
    for character in "\\`*_{}[]<>#|":
        text = text.replace(character, f"\\{character}")
    return text


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else ""
