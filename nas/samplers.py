"""Who proposes the next genome: an explicit table, name -> Optuna sampler."""

from collections.abc import Callable, Mapping

from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from nas.errors import SettingsError

DEFAULT = "tpe"

SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=10),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=20),
}


def make_sampler(name: str, seed: int) -> BaseSampler:
    """A fresh sampler.

    A search makes one for every trial, seeded by the trial's number: what is proposed then depends
    on the study alone, and a search that was killed goes on as if it had not been.

    Args:
        name: a key of SAMPLERS.
        seed: any whole number of at least 0.

    Raises:
        SettingsError: no such sampler.
    """
    if name not in SAMPLERS:
        raise SettingsError(
            f"--sampler must be one of {', '.join(SAMPLERS)}, but is {name!r}; {DEFAULT} is the "
            "default"
        )
    return SAMPLERS[name](seed % 2**32)
