"""The card of an exported model: front matter, figures, and code that runs."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from nas.bundle import Bundle, save
from nas.model_card import model_card
from nas.onnx_model import write_onnx
from tests.nas.bundles import TINY, ensemble, make

FILES = ["evaluation.json", "resnet18.pth", "the_nas_model.onnx", "the_nas_model.pth", "README.md"]
FIGURES = {
    "n": 313,
    "auroc": 0.94215,
    "auroc_interval": [0.914, 0.97],
    "accuracy": 0.84,
    "accuracy_interval": [0.795, 0.877],
    "sensitivity": 0.98,
    "brier": 0.12,
    "parameters": 48_554,
    "multiply_adds": 21_481_568,
    "confusion": [[71, 46], [4, 192]],
    "test_readings": 1,
}
DATA = {"name": "films", "synthetic": False, "licence": "CC BY 4.0", "leaks": []}
SEARCH = {"run": "first", "trial": 12, "score": 0.9723, "validation": {"auroc": 0.997}}


def evaluation(**others: Any) -> dict[str, Any]:
    return {"models": {"the_nas_model": FIGURES, **others}}


def with_card(bundle: Bundle, **data: Any) -> Bundle:
    return replace(bundle, card={"data": {**DATA, **data}, "search": SEARCH})


def front_matter(card: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert found is not None
    values = yaml.safe_load(found[1])
    assert isinstance(values, dict)
    return values


def test_the_front_matter_is_what_hugging_face_reads() -> None:
    found = front_matter(model_card(with_card(TINY), evaluation(), FILES))
    assert found["license"] == "unknown"
    assert found["pipeline_tag"] == "image-classification"
    assert "medical-imaging" in found["tags"]
    assert "synthetic" not in found["tags"]
    assert found["metrics"] == ["roc_auc", "accuracy", "sensitivity", "brier_score"]
    (model,) = found["model-index"]
    assert model["name"] == "the_nas_model"
    (result,) = model["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"type": "films", "name": "films", "split": "test"}
    assert result["metrics"][0] == {"type": "roc_auc", "name": "AUROC", "value": 0.94215}


def test_the_card_says_what_it_is_and_how_good() -> None:
    card = model_card(with_card(ensemble()), evaluation(), FILES)
    for part in (
        "Research use only. Not a medical device. Not for diagnosis.",
        "3 convolutional networks that a search found",
        "class 1 from a probability of 0.375 on (Youden)",
        "temperature 1.25: one temperature, fitted out of fold, n = 120",
        "| n | 313 |",
        "| AUROC | 0.942 (0.914 to 0.970) |",
        "| accuracy | 0.840 (0.795 to 0.877) |",
        "| sensitivity | 0.980 |",
        "| parameters | 48,554 |",
        "- licence: CC BY 4.0",
        "- synthetic: no",
        "- trial: 12",
        "- score: 0.9723",
        "read for this model: 1 time(s)",
        "It sees 16 × 16 pixels",
        "## Intended use",
        "## Limits",
    ):
        assert part in card, part
    assert "SYNTHETIC" not in card
    assert "not calibrated" not in card


def test_what_must_not_be_overlooked_is_said() -> None:
    again = {"count": 3, "warning": "the test split was read 3 times for this model"}
    told = evaluation() | {"models": {"the_nas_model": {**FIGURES, "test_readings": again}}}
    card = model_card(with_card(TINY, synthetic=True, leaks=["patients"]), told, FILES)
    assert "TRAINED ON SYNTHETIC IMAGES" in card
    assert "synthetic" in front_matter(card)["tags"]
    assert "- The test split was read 3 times for this model." in card
    assert "were not calibrated" in card
    assert "share patients or images" in card


def test_a_baseline_is_a_column_or_said_to_be_missing() -> None:
    other = {**FIGURES, "auroc": 0.963, "auroc_interval": None, "f1": 0.9}
    card = model_card(with_card(TINY), evaluation(resnet18=other), FILES)
    assert "| | the\\_nas\\_model | resnet18 |" in card
    assert "| AUROC | 0.942 (0.914 to 0.970) | 0.963 |" in card
    assert "| F1 |  | 0.900 |" in card
    assert front_matter(card)["metrics"][0] == "roc_auc"  # of the model alone
    missing = {"missing": "no network; do this"}
    assert "resnet18 is missing: no network; do this." in model_card(
        with_card(TINY), evaluation(resnet18=missing), FILES
    )


def test_several_classes_have_no_threshold() -> None:
    card = model_card(with_card(make(TINY.members[0].genome, classes=3)), evaluation(), FILES)
    assert "the most probable class is predicted" in card
    assert "Positive is" not in card


def test_names_cannot_break_out_of_the_card() -> None:
    evil = 'a"\n---\n# owned\n| b | [c](d) <script> \x1b[2J: {x: 1}'
    bundle = replace(with_card(TINY, name=evil), classes=("ok", evil), threshold_policy=evil)
    card = model_card(bundle, evaluation(), FILES)
    name = front_matter(card)["model-index"][0]["results"][0]["dataset"]["name"]
    assert name.startswith('a"\N{REPLACEMENT CHARACTER}---')
    assert "\n# owned" not in card
    assert "<script>" not in card.split("\n---\n")[1]
    assert all(c.isprintable() or c == "\n" for c in card)


@pytest.mark.parametrize("bundle", [TINY, ensemble()], ids=["one", "three"])
def test_the_code_of_the_card_runs(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save(bundle, Path("the_nas_model.pth"))
    write_onnx(bundle, Path("the_nas_model.onnx"), np.zeros((1, 1, 16, 16), dtype=np.uint8))
    Image.new("L", (16, 16)).save("image.png")
    blocks = re.findall(r"```python\n(.*?)```", model_card(bundle, evaluation(), FILES), re.DOTALL)
    assert len(blocks) == 2
    ours: dict[str, Any] = {}
    exec(blocks[0], ours)
    assert "class 0" in capsys.readouterr().out
    theirs: dict[str, Any] = {}
    exec(blocks[1], theirs)
    assert theirs["classes"] == ["class 0", "class 1"]
    said = ours["prediction"].probabilities
    np.testing.assert_allclose(theirs["probabilities"][0], list(said.values()), atol=1e-4)


def test_paired_tests_domains_and_figures_out_of_fold_are_told() -> None:
    told = evaluation(
        resnet18={**FIGURES, "auroc": 0.9},
        the_nas_model={
            **FIGURES,
            "domains": {
                "IM": {"n": 40, "accuracy": 0.9, "specificity": 0.9,
                       "specificity_interval": [0.77, 0.96], "sensitivity": None},
            },
        },
    )  # fmt: skip
    told["comparisons"] = [
        {
            "first": "the_nas_model",
            "second": "resnet18",
            "n": 313,
            "auroc": {"difference": 0.042, "interval": [0.01, 0.07], "p": 0.004},
            "mcnemar": {"only_first": 12, "only_second": 3, "p": 0.035},
        }
    ]
    finals = {
        "standings": [{}, {}],
        "epochs": 12,
        "divisions": ["patients-2", "domain-IM"],
        "out_of_fold": {"n": 2608, "auroc": 0.9961},
        "calibration": {"ece_before": 0.05, "ece_after": 0.01},
    }
    bundle = with_card(TINY)
    card = model_card(replace(bundle, card={**bundle.card, "finals": finals}), told, FILES)
    assert r"- AUROC of the\_nas\_model minus that of resnet18: +0.042" in card
    assert "McNemar p = 0.035" in card
    assert "| IM | 40 | 0.900 |  | 0.900 [0.770, 0.960] |" in card
    assert "chosen among 2 by trainings of 12 epochs that held out patients-2, domain-IM." in card
    assert "Out of fold, n = 2,608: AUROC 0.996" in card
    assert "Calibration error 0.050 before the temperature, 0.010 after." in card


def test_networks_of_one_genome_are_told_once() -> None:
    again = replace(TINY, members=TINY.members * 3)
    card = model_card(with_card(again), evaluation(), FILES)
    assert card.count("parameters, ") == 1
    assert "- 3 of " in card
    assert "- 3 of " not in model_card(with_card(TINY), evaluation(), FILES)


def test_a_trial_alone_says_nothing_of_finals() -> None:
    card = model_card(with_card(TINY), evaluation(), FILES)
    assert "Before the test split" not in card
    assert "Against the baselines" not in card
