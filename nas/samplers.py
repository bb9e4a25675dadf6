"""Who proposes the next genome: an explicit table, name -> Optuna sampler."""

from collections.abc import Callable, Mapping

from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from nas.belief import Describe
from nas.errors import SettingsError
from nas.evolution import EvolutionSampler
from nas.local_search import LocalSampler
from nas.surrogate import SurrogateSampler

DEFAULT = "tpe"
"""Until samplers are compared on X-rays: on NAS-Bench-201 the surrogate is far ahead, but of two
searches of the demo set, one each, tpe's found the better network (runs/LOG.md)."""

SAMPLERS: Mapping[str, Callable[[int, Describe | None], BaseSampler]] = {
    "random": lambda seed, _: RandomSampler(seed=seed),
    "tpe": lambda seed, _: TPESampler(seed=seed, n_startup_trials=10),
    "gp": lambda seed, _: GPSampler(
        seed=seed, n_startup_trials=10, warn_independent_sampling=False
    ),
    "nsga2": lambda seed, _: NSGAIISampler(seed=seed, population_size=20),
    "evolution": lambda seed, _: EvolutionSampler(seed),
    "local": lambda seed, _: LocalSampler(seed),
    "surrogate": SurrogateSampler,
}


def make_sampler(name: str, seed: int, *, describe: Describe | None = None) -> BaseSampler:
    """A fresh sampler.

    A search makes one for every trial, seeded by the trial's number: what is proposed then depends
    on the study alone, and a search that was killed goes on as if it had not been.

    Args:
        name: a key of SAMPLERS.
        seed: any whole number of at least 0.
        describe: figures of a point that are known before training, for samplers that can use
            them (the surrogate); not needed.

    Raises:
        SettingsError: no such sampler.
    """
    if name not in SAMPLERS:
        raise SettingsError(
            f"--sampler must be one of {', '.join(SAMPLERS)}, but is {name!r}; {DEFAULT} is the "
            "default"
        )
    return SAMPLERS[name](seed % 2**32, describe)
