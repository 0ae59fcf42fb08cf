"""The search space of two hosts: which candidates it holds, and the way between candidates and parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, Protocol, Self, get_args

from tuner.candidate import GATEWAYS, Candidate, Engine, Gateway, GatewayCpuSets
from tuner.host_tuning import AS_IT_IS, HostTuning
from tuner.placement import Placement, canonical, legal_placements, place
from tuner.topology import Topology
from tuner.tunables import (
    HOST_PREFIX,
    STOCK_MTU,
    UNPINNED,
    Choice,
    Narrowing,
    Params,
    Tunable,
    check_cpu_sets,
    check_host_settings,
    custom_placements,
    generate_tunables,
    mtu_limit,
)

_REMEMBERED = 8192
"""Candidates that a space keeps by their parameters."""


def _default(tunable: str) -> Any:
    if tunable.startswith(HOST_PREFIX):
        return AS_IT_IS
    return Candidate.model_fields[tunable].default if tunable in Candidate.model_fields else None


def _value_of(candidate: Candidate, tunable: str) -> Any:
    if not tunable.startswith(HOST_PREFIX):
        return getattr(candidate, tunable)
    value = getattr(candidate.host, tunable.removeprefix(HOST_PREFIX))
    return AS_IT_IS if value is None else value


def _host_of(params: Mapping[str, Any]) -> HostTuning:
    asked = {name: value for name, value in params.items() if name.startswith(HOST_PREFIX) and value != AS_IT_IS}
    return HostTuning(**{name.removeprefix(HOST_PREFIX): value for name, value in asked.items()})


class OptunaTrial(Protocol):
    """The part of optuna.Trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        ...

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """A number from low to high, both included."""
        ...


@dataclass(frozen=True)
class SearchSpace:
    """All candidates worth trying on two hosts. Make one with `from_host`."""

    topologies: Mapping[Gateway, Topology]
    engines: tuple[Engine, ...]
    shared_machine: bool
    underlay_mtu: int
    narrowing: Narrowing
    symmetric_traffic: bool
    tunables: tuple[Tunable, ...]

    @classmethod
    def from_host(
        cls,
        *,
        topologies: Mapping[Gateway, Topology],
        engines: Collection[str],
        shared_machine: bool,
        underlay_mtu: int,
        narrowing: Narrowing | None = None,
        symmetric_traffic: bool = False,
        host_tunables: Collection[str] | None = None,
    ) -> Self:
        """The space of two hosts. Deterministic: the same arguments give the same space after a restart.

        `engines`: those that run on both gateways. `symmetric_traffic`: the workloads load both directions alike, so
        that mirrored gateways are duplicates. `host_tunables`: host settings that both gateways have; None: not known.
        Raises ValueError that says which tunable is impossible, and why.
        """
        narrowing = narrowing or Narrowing()
        known: tuple[Engine, ...] = tuple(engine for engine in get_args(Engine) if engine in engines)
        space = cls(
            topologies={gateway: topologies[gateway] for gateway in GATEWAYS},
            engines=known,
            shared_machine=shared_machine,
            underlay_mtu=underlay_mtu,
            narrowing=narrowing,
            symmetric_traffic=symmetric_traffic,
            tunables=generate_tunables(topologies, known, shared_machine, underlay_mtu, narrowing),
        )
        for name, values in narrowing.host.items():
            for value in values:
                check_host_settings(_host_of({HOST_PREFIX + name: value}), host_tunables, topologies)
        check_host_settings(
            space.baseline().host, host_tunables, topologies
        )  # raises now, not in the middle of a study
        return space

    # -- from parameters to candidates and back -------------------------------------------------------------------

    def suggest(self, trial: OptunaTrial) -> Candidate:
        """The candidate that Optuna's sampler chooses for this trial."""
        params: Params = {}
        for tunable in self.tunables:
            if not tunable.applies(params):
                continue
            if len(tunable.choices) == 1:
                params[tunable.name] = tunable.choices[0]
            elif tunable.ordered:
                params[tunable.name] = tunable.choices[trial.suggest_int(tunable.name, 0, len(tunable.choices) - 1)]
            else:
                params[tunable.name] = trial.suggest_categorical(tunable.name, tunable.choices)
        return self.candidate(params)

    def optuna_params(self, params: Mapping[str, Choice]) -> Params:
        """The parameters as `suggest` names them to Optuna: an ordered tunable by the index of its choice."""
        return {
            tunable.name: tunable.choices.index(params[tunable.name]) if tunable.ordered else params[tunable.name]
            for tunable in self.tunables
            if tunable.name in params and len(tunable.choices) > 1
        }

    def candidate(self, params: Mapping[str, Choice]) -> Candidate:
        """The canonical candidate with these parameters. Raises ValueError for parameters outside the space."""
        return self._remembered(tuple(params.items()))

    @cached_property
    def _remembered(self) -> Callable[[tuple[tuple[str, Choice], ...]], Candidate]:
        """A search comes back to the candidates around its best ones again and again, and relabelling takes time."""
        return lru_cache(_REMEMBERED)(lambda items: self._made_of(dict(items)))

    def _made_of(self, params: Params) -> Candidate:
        self._check(params)
        fields: dict[str, Any] = {"mode": None}
        fields |= {name: value for name, value in params.items() if not name.startswith(("placement", HOST_PREFIX))}
        fields["host"] = _host_of(params)
        if "crypto_workers" in fields:
            fields["crypto_workers"] = self._bounded_workers(fields["crypto_workers"], fields["lanes"])
        return self.canonical(self._placed(Candidate(**fields), params))

    def canonical(self, candidate: Candidate) -> Candidate:
        """The representative of the candidates that behave like this one on these hosts."""
        if candidate.key in self._canonical_keys:
            return candidate
        form = canonical(candidate, self.topologies, shared_machine=self.shared_machine, mirror=self.symmetric_traffic)
        self._canonical_keys.add(form.key)
        return form

    @cached_property
    def _canonical_keys(self) -> set[str]:
        """Of representatives: what a search hands out comes back to be told, charted and compared."""
        return set()

    def params_of(self, candidate: Candidate) -> Params:
        """The parameters that give this candidate, for warm starts and charts. Raises ValueError where none do."""
        wanted = self.canonical(candidate).key
        for placement in product(*(tunable.choices for tunable in self._placement_tunables)):
            params: Params = {t.name: choice for t, choice in zip(self._placement_tunables, placement, strict=True)}
            for tunable in self.tunables:
                if tunable.name not in params and tunable.applies(params):
                    params[tunable.name] = _value_of(candidate, tunable.name)
                    if params[tunable.name] not in tunable.choices:
                        raise ValueError(f"{tunable.label} {params[tunable.name]} is not in the search space")
            if self.candidate(params).key == wanted:
                return {tunable.name: params[tunable.name] for tunable in self.tunables if tunable.name in params}
        raise ValueError(f"no parameters of the search space give: {candidate.in_words()}")

    def __contains__(self, candidate: Candidate) -> bool:
        """Whether some parameters give this candidate."""
        try:
            self.params_of(candidate)
        except ValueError:
            return False
        return True

    def _check(self, params: Mapping[str, Choice]) -> None:
        known = {tunable.name for tunable in self.tunables}
        for name in params:
            if name not in known:
                raise ValueError(
                    f"{name} is not a tunable of this search space; its tunables: {', '.join(sorted(known))}"
                )
        for tunable in self.tunables:
            if tunable.applies(params) != (tunable.name in params):
                raise ValueError(f"{tunable.name} is {'needed' if tunable.applies(params) else 'of no use'} here")
            if tunable.name in params and params[tunable.name] not in tunable.choices:
                raise ValueError(f"{tunable.name} {params[tunable.name]!r} is not one of {tunable.choices}")

    @cached_property
    def _placement_tunables(self) -> tuple[Tunable, ...]:
        return tuple(tunable for tunable in self.tunables if tunable.name.startswith("placement"))

    @cached_property
    def _placements(self) -> dict[str, Placement]:
        return {placement.name: placement for placement in legal_placements(self.topologies, self.shared_machine)}

    @cached_property
    def _custom(self) -> dict[str, GatewayCpuSets]:
        return custom_placements(self.narrowing)

    def _placed(self, candidate: Candidate, params: Mapping[str, Choice]) -> Candidate:
        names = {g: str(params["placement"] if "placement" in params else params[f"placement_{g}"]) for g in GATEWAYS}
        generated = {gateway: self._placements.get(name, Placement("unpinned")) for gateway, name in names.items()}
        placed = place(candidate, generated, self.topologies)
        own: dict[str, Any] = {g: getattr(self._custom[name], g) for g, name in names.items() if name in self._custom}
        return placed.model_copy(update={"cpu_sets": placed.cpu_sets.model_copy(update=own)}) if own else placed

    def _bounded_workers(self, workers: int, lanes: int) -> int:
        """Unless the user chose the numbers: the next lower choice that keeps lanes x workers within twice the CPUs;
        more threads would only take turns."""
        if self.narrowing.crypto_workers is not None:
            return workers
        most = max(1, 2 * self._cpus // lanes)
        choices = next(tunable.choices for tunable in self.tunables if tunable.name == "crypto_workers")
        return max(int(choice) for choice in choices if int(choice) <= min(workers, most))

    @cached_property
    def _cpus(self) -> int:
        return min(len(topology.usable_cpus) for topology in self.topologies.values())

    # -- candidates that stand out --------------------------------------------------------------------------------

    def baseline(self) -> Candidate:
        """What the study compares with: the user's choice, else stock WireGuard where the space has it, else stock's
        architecture (one pipelined lane, a crypto worker for each CPU, nothing pinned). Raises ValueError when the
        user's cannot run on these hosts."""
        limit = mtu_limit(self.underlay_mtu)
        given = self.narrowing.baseline
        if given is not None:
            if given.engine not in self.engines:
                raise ValueError(f"the baseline's engine {given.engine} does not run on both gateways")
            if given.mtu > limit:
                raise ValueError(f"the baseline's MTU {given.mtu} does not fit the underlay; {limit} is the most")
            check_cpu_sets(given.cpu_sets, self.topologies)
            return self.canonical(given)
        return self.stock()

    def stock(self) -> Candidate:
        """What a user has who has tuned nothing."""
        mtu = min(STOCK_MTU, mtu_limit(self.underlay_mtu))
        if "kernel" in self._searched_engines:
            return Candidate(engine="kernel", mode=None, mtu=mtu)
        if "wirelane" not in self.engines:
            return Candidate(engine=self.engines[0], mode=None, mtu=mtu)
        return Candidate(mode="pipelined", crypto_workers=min(256, self._cpus), mtu=mtu)

    @property
    def _searched_engines(self) -> tuple[Choice, ...]:
        return next(tunable.choices for tunable in self.tunables if tunable.name == "engine")

    def expert_candidates(self) -> tuple[Candidate, ...]:
        """What an expert would try first, best guess first; only those that the space holds, without the baseline.

        Stock settings, where the baseline is something else; inline with a lane for each core on the NIC's node, near;
        with a lane for each core and each CPU of the host, spread or unpinned; one inline lane; stock pipelined but
        pinned; several stock tunnels, which is what most people do who outgrow one (the paper's "plain multi-tunnel");
        the largest MTU; in-tree WireGuard with threaded NAPI, a pinned lane for each core.
        """
        hosts = self.topologies.values()
        near_cores = min(sum(core[0].node == host.nic_node for core in host.cores) for host in hosts)
        near, cores, cpus = (self._lanes(count) for count in (near_cores, min(len(h.cores) for h in hosts), self._cpus))
        mtus = next(tunable for tunable in self.tunables if tunable.name == "mtu").choices
        mtu = min((int(choice) for choice in mtus), key=lambda choice: abs(choice - STOCK_MTU))
        inline: Params = {"engine": "wirelane", "mode": "inline", "mtu": mtu}
        kernel: Params = {"engine": "kernel", "threaded_napi": True, "mtu": mtu}
        rules = [
            inline | {"lanes": near, "placement": "near"},
            inline | {"lanes": near, "placement": "near apart"},
            inline | {"lanes": cores, "placement": "spread"},
            inline | {"lanes": cpus, "placement": UNPINNED},
            inline | {"lanes": near, "placement": UNPINNED},
            inline | {"lanes": 1, "placement": "near"},
            inline | {"lanes": near, "placement": "near", "mtu": max(mtus)},
            inline | {"lanes": 1, "placement": "near", "mode": "pipelined"},
            inline | {"lanes": near, "placement": UNPINNED, "mode": "pipelined"},
            kernel | {"lanes": near, "placement": "near"},
            kernel | {"lanes": cores, "placement": "spread"},
        ]
        stock = self.canonical(self.stock())
        found: dict[str, Candidate] = {}
        if stock.key != self.baseline().key and stock in self:
            found[stock.key] = stock
        for rule in rules:
            candidate = self._nearest(rule)
            if candidate is not None and candidate.key != self.baseline().key:
                found.setdefault(candidate.key, candidate)
        return tuple(found.values())

    def _lanes(self, count: int) -> int:
        """The largest number of lanes in the space up to `count`, else the smallest."""
        lanes = next(tunable.choices for tunable in self.tunables if tunable.name == "lanes")
        return max(int(choice) for choice in lanes if int(choice) <= max(count, int(lanes[0])))

    def adopted(self, params: Mapping[str, Choice]) -> Candidate:
        """The candidate with parameters of another space, the rest by default. Raises ValueError that says which of
        them this space does not have."""
        for tunable in self.tunables:
            if tunable.name in params and params[tunable.name] not in tunable.choices:
                raise ValueError(f"{tunable.label} {params[tunable.name]} is not in the search space")
        missing = params.keys() - {tunable.name for tunable in self.tunables}
        if missing:
            raise ValueError(f"the search space has no {', '.join(sorted(missing))}")
        candidate = self._nearest(params)
        assert candidate is not None  # noqa: S101  every wish is a choice
        return candidate

    def _nearest(self, wish: Mapping[str, Choice]) -> Candidate | None:
        """The candidate with the wished parameters, the rest by default; None where a wish is outside the space."""
        params: Params = {}
        for tunable in self.tunables:
            if not tunable.applies(params):
                continue
            name = "placement" if tunable.name.startswith("placement_") else tunable.name
            default = self._cpus if name == "crypto_workers" else _default(name)
            value = wish.get(name, default if default in tunable.choices else tunable.choices[-1])
            if value not in tunable.choices:
                return None
            params[tunable.name] = value
        return self.candidate(params)

    # -- the space as a whole -------------------------------------------------------------------------------------

    @cached_property
    def size(self) -> int:
        """Number of parameter combinations; an upper bound of the distinct candidates, some of which collapse."""
        return self._count({}, 0)

    def _count(self, params: Params, at: int) -> int:
        if at == len(self.tunables):
            return 1
        tunable = self.tunables[at]
        if not tunable.applies(params):
            return self._count(params, at + 1)
        if tunable.name not in self._conditioning:
            return len(tunable.choices) * self._count(params, at + 1)
        return sum(self._count(params | {tunable.name: choice}, at + 1) for choice in tunable.choices)

    @cached_property
    def _conditioning(self) -> frozenset[str]:
        """Tunables on which others depend."""
        return frozenset(name for tunable in self.tunables for name in tunable.applies_when or {})

    @cached_property
    def grid_size(self) -> int:
        """Number of points of the full grid, tunables that do not apply counted too."""
        return math.prod(len(tunable.choices) for tunable in self.tunables)

    def grid_params(self, index: int) -> Params:
        """Parameters of one grid point, 0 <= index < grid_size; points that differ only in tunables that do not apply
        give the same parameters."""
        params: Params = {}
        for tunable in self.tunables:
            index, digit = divmod(index, len(tunable.choices))
            if tunable.applies_when is None or tunable.applies(params):
                params[tunable.name] = tunable.choices[digit]
        return params

    def neighbours(self, params: Mapping[str, Choice]) -> Iterator[Params]:
        """Parameters that differ in one tunable, which moves by one step where it is ordered. What then begins to
        apply takes its first choice."""
        return (self.moved(params, move) for move in self.moves(params))

    def moves(self, params: Mapping[str, Choice]) -> list[tuple[str, Choice]]:
        """Name and new value of the tunable in which each neighbour differs."""
        moves = []
        for tunable in self.tunables:
            if tunable.name in params:
                at = tunable.choices.index(params[tunable.name])
                near = tunable.choices[max(0, at - 1) : at + 2] if tunable.ordered else tunable.choices
                moves += [(tunable.name, choice) for choice in near if choice != params[tunable.name]]
        return moves

    def moved(self, params: Mapping[str, Choice], move: tuple[str, Choice]) -> Params:
        """The neighbour of these parameters by this move."""
        return self._completed(dict(params) | {move[0]: move[1]})

    def _completed(self, params: Mapping[str, Choice]) -> Params:
        completed: Params = {}
        for tunable in self.tunables:
            if tunable.applies(completed):
                completed[tunable.name] = params.get(tunable.name, tunable.choices[0])
        return completed

    def describe(self) -> list[dict[str, Any]]:
        """The tunables for the UI, as JSON values: name, label, unit, choices, ordered, applies_when."""
        return [
            {
                "name": tunable.name,
                "label": tunable.label,
                "unit": tunable.unit,
                "choices": list(tunable.choices),
                "ordered": tunable.ordered,
                "applies_when": {name: list(values) for name, values in (tunable.applies_when or {}).items()},
            }
            for tunable in self.tunables
        ]
