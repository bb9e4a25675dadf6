"""A run of 1,000 trials: how long its report takes, and how large it is."""

import random
import time
from pathlib import Path

import optuna
import pytest

from nas.report.read import read_run
from nas.report.sections import sections_of
from nas.report.writing import write_report
from nas.runfolder import RunFolder
from nas.storage import Place, open_study, storage_of
from nas.study import Ended, rung_name

TRIALS = 1000
BUDGETS = (2, 6, 18)
SECONDS, BYTES = 30.0, 15_000_000


def write_study(run: RunFolder) -> None:
    """As a search would have left it: 30 choices, rungs of which a third goes on, epochs."""
    generator = random.Random(0)
    study = open_study(Place.file(run.study), aims=1)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        f"choice_{i}": optuna.distributions.CategoricalDistribution(("a", "b", "c", "d"))
        for i in range(30)
    }
    trials = []
    for number in range(TRIALS):
        params = {name: generator.choice("abcd") for name in distributions}
        attributes = {
            "genome": params,
            "key": str(number),
            "facts": {"parameters": generator.randint(10**4, 10**6),
                      "multiply_adds": generator.randint(10**6, 10**8)},
            "ended": Ended.COMPLETED,
            "reason": "trained to the full budget",
        }  # fmt: skip
        level, worth = 0.9, 0.02 * (params["choice_3"] == "b")
        for budget in BUDGETS[: 1 + (number % 3 == 0) + (number % 9 == 0)]:
            level += 0.02
            epochs = [{"epoch": e, "loss": 1 / e, "auroc": 1 - 0.1 / e, "seconds": 1.0}
                      for e in range(1, budget + 1)]  # fmt: skip
            attributes[rung_name(budget)] = {
                "budget": budget, "score": level + worth + generator.gauss(0, 0.01),
                "seconds": 10.0, "metrics": {"epochs": epochs, "auroc": level},
            }  # fmt: skip
        trials.append(
            optuna.create_trial(params=params, distributions=distributions, value=level,
                                user_attrs=attributes)
        )  # fmt: skip
    storage = storage_of(study)
    for trial in trials:
        storage.add(study._study_id, trial)
    storage.close()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_thousand_trials_take_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(tmp_path / "large")
    run.begin({"classes": ["a", "b"], "objective": "auroc"}, {"data": None})
    write_study(run)
    begun = time.monotonic()
    data = read_run(run)
    files = write_report(tmp_path / "report", "large", sections_of(data))
    seconds = time.monotonic() - begun
    size = sum(path.stat().st_size for path in files)
    page = files[0].read_text()
    with capsys.disabled():
        print(f"\n{TRIALS} trials: {seconds:.1f} s, page {len(page) / 1e6:.1f} MB, "
              f"all files {size / 1e6:.1f} MB")  # fmt: skip
    assert len(data.records) == TRIALS
    assert "Clearly above chance: choice_3" in page
    assert seconds < SECONDS
    assert len(page) < BYTES
