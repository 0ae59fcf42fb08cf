"""Searches that compete: ours, plain Optuna, random search, a grid. Each runs one study of one testbed and seed."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import optuna

from benchmarks.tuner.testbeds import BLOCK_S, Testbed
from tuner.candidate import Candidate
from tuner.history import History, ProcedureSettings, TrialRecord
from tuner.outcomes import Measured, outcome_of
from tuner.procedure import Procedure
from tuner.search import StudySearch
from tuner.simulation import Simulation
from tuner.statistics import Verdict
from tuner.steps import AskTrial, Finish, MeasureBlock, TellTrial
from tuner.tunables import Narrowing

START = datetime(2026, 1, 1, tzinfo=UTC)
NEAR = 0.95
"""A candidate this close to the optimum counts as found."""
VERDICTS_AGAIN = 10
LONG_TRIALS = 120
"""Plain Optuna goes on up to here until it has tried a candidate near the optimum."""
Storage = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108  a journal that survives nothing


@dataclass(frozen=True)
class Run:
    """What one study came to, beside the truth."""

    winner_ratio: float
    """True throughput of the winner over that of the true optimum."""
    trials_to_near: int | None
    """Trials until a candidate within 5% of the optimum was tried; None: never."""
    trials: int
    choosing_s: float
    """Measuring time until the winner was chosen."""
    true_gain: float
    claimed_gain: float
    interval: tuple[float, float] | None
    conclusion: str
    again: tuple[bool, ...] = ()
    """Whether further verdicts on the same winner, each with fresh noise, held the true gain."""


class _Bench:
    """A simulated testbed in simulated time."""

    def __init__(self, testbed: Testbed, seed: int) -> None:
        # Noise of its own on every testbed: with the same seeds the rows of a table would not be independent.
        noise_seed = zlib.crc32(f"{testbed.name} {seed}".encode())
        self._testbed, self._simulation = testbed, Simulation(testbed.model, testbed.noise, noise_seed)
        self.elapsed_s = 0.0

    def block(self, candidate: Candidate) -> Measured:
        """One block."""
        samples = self._simulation.measure(
            candidate, [self._testbed.workload], elapsed_s=self.elapsed_s, started_at=START
        )
        self.elapsed_s += BLOCK_S
        outcome = outcome_of(samples, Procedure(ProcedureSettings(), candidate).objective)
        assert isinstance(outcome, Measured)  # noqa: S101
        return outcome


@dataclass(frozen=True)
class StudyRun:
    """A whole study of ours."""

    procedure: Procedure
    history: History
    verdict: Verdict
    chosen_s: float
    """Measuring time until the winner was chosen."""


def study(testbed: Testbed, seed: int, settings: ProcedureSettings, narrowing: Narrowing | None = None) -> StudyRun:
    """Runs a study to its end."""
    space = testbed.space if narrowing is None else testbed.space_with(narrowing)
    procedure, bench, history = Procedure(settings, space.baseline()), _Bench(testbed, seed), History()
    chosen_s = 0.0
    with (
        tempfile.TemporaryDirectory(dir=Storage) as folder,
        StudySearch.open(Path(folder) / "journal", "s", space, procedure.objective, seed=seed) as search,
    ):
        while not isinstance(step := procedure.next_step(history, bench.elapsed_s), Finish):
            if isinstance(step, AskTrial):
                asked = search.ask()
                if asked is None:
                    history = history.model_copy(update={"space_exhausted": True})
                    continue
                record = TrialRecord(
                    number=asked.number,
                    candidate=asked.candidate,
                    params=asked.params,
                    expected_gain=asked.expected_gain,
                )
                history = history.model_copy(update={"trials": (*history.trials, record)})
            elif isinstance(step, TellTrial):
                search.tell(step.number, step.outcome, step.estimate)
                trials = [t.model_copy(update={"told": t.told or t.number == step.number}) for t in history.trials]
                history = history.model_copy(update={"trials": tuple(trials)})
            elif isinstance(step, MeasureBlock):
                started_s = bench.elapsed_s
                chosen_s = chosen_s if step.phase == "verdict" else started_s + BLOCK_S
                block = step.record(bench.block(step.candidate), started_s=started_s, duration_s=BLOCK_S)
                history = history.model_copy(update={"blocks": (*history.blocks, block)})
    verdict = procedure.verdict(history)
    assert verdict is not None  # noqa: S101
    return StudyRun(procedure, history, verdict, chosen_s)


def verdicts_again(testbed: Testbed, seed: int, run: StudyRun, count: int) -> tuple[Verdict, ...]:
    """The verdict phase of a study `count` times more, each with noise of its own: one says little of coverage."""
    chosen = tuple(block for block in run.history.blocks if block.phase != "verdict")
    found = []
    for k in range(count):
        bench, history = _Bench(testbed, (seed + 1) * 1_000_003 + k), run.history.model_copy(update={"blocks": chosen})
        bench.elapsed_s = run.chosen_s
        while isinstance(step := run.procedure.next_step(history, bench.elapsed_s), MeasureBlock):
            started_s = bench.elapsed_s
            block = step.record(bench.block(step.candidate), started_s=started_s, duration_s=BLOCK_S)
            history = history.model_copy(update={"blocks": (*history.blocks, block)})
        verdict = run.procedure.verdict(history)
        assert verdict is not None  # noqa: S101
        found.append(verdict)
    return tuple(found)


def ours(testbed: Testbed, seed: int, settings: ProcedureSettings | None = None) -> Run:
    """Racing, drift removed, playoff, verdict."""
    one = study(testbed, seed, settings or ProcedureSettings(seed=seed, explain_rounds=0))
    history, verdict, chosen_s = one.history, one.verdict, one.chosen_s
    tried = [testbed.truth(trial.candidate) for trial in history.trials]
    true_gain = testbed.truth(verdict.best) / testbed.truth(verdict.baseline)
    again = verdicts_again(testbed, seed, one, VERDICTS_AGAIN if settings is None else 0)
    return Run(
        winner_ratio=testbed.truth(verdict.best) / testbed.best_gbps,
        trials_to_near=_first_near(tried, testbed),
        trials=len(tried),
        choosing_s=chosen_s,
        true_gain=true_gain,
        claimed_gain=verdict.gain,
        interval=(verdict.gain_low, verdict.gain_high),
        conclusion=verdict.conclusion,
        again=tuple(one.gain_low <= true_gain <= one.gain_high for one in again),
    )


def fixed(repeats: int) -> Callable[[Testbed, int], Run]:
    """Ours without racing: the same search, so many blocks for every candidate, and no playoff."""
    return lambda testbed, seed: ours(
        testbed, seed, ProcedureSettings(seed=seed, explain_rounds=0, racing=False, repeats=repeats, finalists=1)
    )


def plain_optuna(testbed: Testbed, seed: int, trials: int = 40) -> Run:
    """What most people write: one sample a trial, the best value is the result. Goes on after that, for the count of
    trials until one is near the optimum."""
    return _one_sample_each(testbed, seed, optuna.samplers.TPESampler(seed=seed), trials, LONG_TRIALS)


def random_search(testbed: Testbed, seed: int, trials: int = 40) -> Run:
    """The same without learning anything."""
    return _one_sample_each(testbed, seed, optuna.samplers.RandomSampler(seed=seed), trials, trials)


def _one_sample_each(
    testbed: Testbed, seed: int, sampler: optuna.samplers.BaseSampler, trials: int, longest: int
) -> Run:
    bench = _Bench(testbed, seed)
    baseline = testbed.space.baseline()
    reference = bench.block(baseline).metrics.throughput_gbps
    one = optuna.create_study(direction="maximize", sampler=sampler)
    tried: list[tuple[float, Candidate]] = []
    chosen_s, is_near = 0.0, False
    while len(tried) < trials or (len(tried) < longest and not is_near):
        trial = one.ask()
        candidate = testbed.space.suggest(trial)
        tried.append((bench.block(candidate).metrics.throughput_gbps, candidate))
        one.tell(trial, tried[-1][0])
        is_near = is_near or testbed.truth(candidate) >= NEAR * testbed.best_gbps
        chosen_s = bench.elapsed_s if len(tried) <= trials else chosen_s
    near = _first_near([testbed.truth(candidate) for _, candidate in tried], testbed)
    return replace(_best_value(testbed, reference, tried[:trials], chosen_s), trials_to_near=near)


def grid(testbed: Testbed, seed: int, trials: int = 40) -> Run:
    """An even grid, one sample a point: every k-th point of the space, from a start that the seed gives."""
    bench = _Bench(testbed, seed)
    reference = bench.block(testbed.space.baseline()).metrics.throughput_gbps
    stride, size = testbed.space.grid_size / trials, testbed.space.grid_size
    start = seed * 7919 % size
    tried = []
    for k in range(trials):
        candidate = testbed.space.candidate(testbed.space.grid_params(int(start + k * stride) % size))
        tried.append((bench.block(candidate).metrics.throughput_gbps, candidate))
    return _best_value(testbed, reference, tried, bench.elapsed_s)


def _best_value(testbed: Testbed, reference: float, tried: list[tuple[float, Candidate]], elapsed_s: float) -> Run:
    looks, winner = max(tried, key=lambda pair: pair[0])
    baseline = testbed.truth(testbed.space.baseline())
    return Run(
        winner_ratio=testbed.truth(winner) / testbed.best_gbps,
        trials_to_near=_first_near([testbed.truth(candidate) for _, candidate in tried], testbed),
        trials=len(tried),
        choosing_s=elapsed_s,
        true_gain=testbed.truth(winner) / baseline,
        claimed_gain=looks / reference,
        interval=None,
        conclusion="better" if looks > reference else "no_significant_difference",
    )


def _first_near(tried: list[float], testbed: Testbed) -> int | None:
    return next((k for k, truth in enumerate(tried, 1) if truth >= NEAR * testbed.best_gbps), None)


def no_difference(testbed: Testbed, seed: int) -> Run:
    """An A/A study: the only candidate is the baseline."""
    baseline = testbed.space.baseline()
    fixed_values = Narrowing(
        engine=("wirelane",),
        mode=(baseline.mode or "pipelined",),
        lanes=(baseline.lanes,),
        crypto_workers=(baseline.crypto_workers or 1,),
        placement=("unpinned",),
        mtu=(baseline.mtu,),
        batch_packets=(baseline.batch_packets,),
        socket_buffer_bytes=(baseline.socket_buffer_bytes,),
        baseline=baseline,
    )
    one = study(testbed, seed, ProcedureSettings(seed=seed, explain_rounds=0), fixed_values)
    interval = (one.verdict.gain_low, one.verdict.gain_high)
    return Run(1.0, None, 1, one.chosen_s, 1.0, one.verdict.gain, interval, one.verdict.conclusion)
