"""A study run to its end in memory: the loop that `app` runs durably."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tuner.candidate import Candidate
from tuner.history import History, TrialRecord
from tuner.objectives import BlockMetrics
from tuner.outcomes import Failed, Infeasible, Measured, outcome_of
from tuner.procedure import Procedure
from tuner.samples import Workload
from tuner.search import StudySearch
from tuner.simulation import Simulation
from tuner.space import SearchSpace
from tuner.steps import AskTrial, Finish, MeasureBlock, Step, TellTrial
from tuner.topology import Topology

Outcome = Measured | Infeasible | Failed
Measure = Callable[[Candidate, MeasureBlock], Outcome]
WORKLOADS = (Workload(flows=16, duration_s=2),)


def host_space(topology: Topology, *, shared: bool, **rest: object) -> SearchSpace:
    """The space of two equal hosts."""
    given = {"engines": ("wirelane", "wireguard-go"), "underlay_mtu": 1500} | rest
    return SearchSpace.from_host(topologies={"a": topology, "b": topology}, shared_machine=shared, **given)  # type: ignore[arg-type]


def measured(throughput_gbps: float, gbit_per_cpu_s: float | None = 4.0) -> Measured:
    """An outcome with these metrics."""
    return Measured(
        metrics=BlockMetrics(throughput_gbps=throughput_gbps, gbit_per_cpu_s=gbit_per_cpu_s, simulated=True)
    )


def simulated(simulation: Simulation, procedure: Procedure, block_s: float = 5.0) -> Measure:
    """Measures on a simulated testbed; every block takes `block_s` simulated seconds."""
    blocks = 0

    def measure(candidate: Candidate, _: MeasureBlock) -> Outcome:
        nonlocal blocks
        blocks += 1
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        samples = simulation.measure(candidate, WORKLOADS, elapsed_s=blocks * block_s, started_at=moment)
        return outcome_of(samples, procedure.objective)

    return measure


@dataclass
class Study:
    """A procedure, a search, and the history that they make."""

    procedure: Procedure
    search: StudySearch
    measure: Measure
    block_s: float = 5.0
    history: History = field(default_factory=History)
    steps: list[Step] = field(default_factory=list)

    @property
    def elapsed_s(self) -> float:
        return self.block_s * len(self.history.blocks)

    def run(self) -> Finish:
        """Runs to the end."""
        for step in self:
            if isinstance(step, Finish):
                return step
        raise AssertionError("the procedure never finished")

    def __iter__(self) -> Iterator[Step]:
        for _ in range(100_000):
            step = self.procedure.next_step(self.history, self.elapsed_s)
            self.steps.append(step)
            self.take(step)
            yield step
            if isinstance(step, Finish):
                return

    def take(self, step: Step) -> None:
        match step:
            case AskTrial():
                asked = self.search.ask()
                if asked is None:
                    self._extend(space_exhausted=True)
                else:
                    trial = TrialRecord(
                        number=asked.number,
                        candidate=asked.candidate,
                        params=asked.params,
                        expected_gain=asked.expected_gain,
                    )
                    self._extend(trials=(*self.history.trials, trial))
            case MeasureBlock():
                outcome = self.measure(step.candidate, step)
                record = step.record(outcome, started_s=self.elapsed_s, duration_s=self.block_s)
                self._extend(blocks=(*self.history.blocks, record))
            case TellTrial():
                self.search.tell(step.number, step.outcome, step.estimate)
                trials = tuple(
                    trial.model_copy(update={"told": True}) if trial.number == step.number else trial
                    for trial in self.history.trials
                )
                self._extend(trials=trials)

    def _extend(self, **changes: object) -> None:
        fields = {name: getattr(self.history, name) for name in History.model_fields}
        self.history = History(**(fields | changes))  # type: ignore[arg-type]
