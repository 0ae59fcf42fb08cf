"""Optuna's samplers by the names that a user gives. Imports Optuna late: it takes a second."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SamplerName = Literal["tpe", "gp", "random", "grid"]


def check_sampler(name: SamplerName) -> None:
    """Raises ValueError where the sampler needs a package that is not installed."""
    if name == "gp" and find_spec("torch") is None:
        raise ValueError("sampler gp needs PyTorch, which is not installed: pip install 'wiretune[gp]', or use tpe")


def make_sampler(name: SamplerName, startup_trials: int, seed: int) -> BaseSampler:
    """The sampler of one ask. Raises ValueError as `check_sampler` does."""
    from optuna.samplers import GPSampler, RandomSampler, TPESampler  # noqa: PLC0415

    if name in ("random", "grid"):
        return RandomSampler(seed=seed)
    if name == "gp":
        check_sampler(name)
        return GPSampler(n_startup_trials=startup_trials, seed=seed)
    # group: conditional tunables are modelled together with those they depend on.
    return TPESampler(n_startup_trials=startup_trials, multivariate=True, group=True, seed=seed)
