"""An analytic cost model of a gateway pair: what a candidate carries, what it costs, and which resource limits it.

Every thread's work is a time per packet, per byte and per batch; every resource (a thread, a CPU, a core, a host, the
link) has a capacity. Work is proportional to throughput, so the throughput is the least of capacity over work. Default
costs are fitted roughly to the two-core machine of FACTS.md; ratios between candidates mean more than absolute figures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tuner.candidate import BOND_STAGE, GATEWAYS, PIPELINED_STAGES, Candidate, Gateway, parse_cpulist
from tuner.placement import stage_threads
from tuner.samples import Workload
from tuner.topology import LOCAL_DISTANCE, Topology

_TCP_IP_HEADERS_BYTES = 52
_UDP_IP_HEADERS_BYTES = 28
_WIREGUARD_HEADERS_BYTES = 60


@dataclass(frozen=True, slots=True)
class CostParameters:
    """Costs of one gateway, in nanoseconds of one CPU unless the name says otherwise."""

    aead_ns_per_byte: float = 0.26
    aead_ns_per_packet: float = 60.0
    io_ns_per_byte: float = 0.25  # TUN and UDP together, with segmentation offloads
    io_ns_per_packet: float = 140.0
    io_ns_per_batch: float = 3500.0
    unsegmented_ns_per_packet: float = 700.0  # extra where the traffic does not come as super-packets (UDP, pktgen)
    hand_off_ns_per_packet: float = 30.0
    hand_off_ns_per_batch: float = 4000.0
    fan_out_ratio: float = 0.15  # dearer hand-off for each doubling of crypto workers
    wireguard_go_ratio: float = 2.6  # its work over wirelane's
    kernel_serial_ns_per_packet: float = 750.0  # of a tunnel's one in-order stage, at each end (engine kernel)
    kernel_crypto_ns_per_byte: float = 0.5
    nic_queue_ns_per_packet: float = 90.0  # receive work before a lane's thread: one queue a lane, its ports decide
    nic_queues: int = 64
    memory_gbytes_per_s: float = 100.0  # of one NUMA node
    memory_touches: float = 6.0  # times that each byte crosses the memory bus on its way through a gateway
    generator_ns_per_byte: float = 0.1  # iperf3, each end
    generator_ns_per_packet: float = 0.0
    generator_udp_ns_per_packet: float = 1200.0
    remote_node_ratio: float = 0.35  # dearer I/O and hand-off for each local distance that the memory is farther away
    unpinned_ratio: float = 0.06  # migrations, cold caches
    smt_core_capacity: float = 1.3  # of one CPU, when both threads of a core are busy
    alternation_ratio: float = 0.18  # time that one lane on a shared machine loses waiting for its other end
    lane_ratio: float = 0.01  # dearer work for each lane above the number of CPUs
    large_batch_ratio: float = 0.03  # a batch of 128 outgrows the L2 cache
    buffer_reserve_bytes: float = 64 << 10
    link_gbps: float = 100.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model expects of a candidate under one workload."""

    throughput_gbps: float
    offered_gbps: float  # what the generator sends; more than the throughput where there is loss
    capacity_gbps: float  # the most that could arrive, whatever is offered
    packets_per_s: float
    bottleneck: str
    stage_cpus: Mapping[tuple[Gateway, str], float]  # CPUs kept busy by each stage
    cpu_busy_ratio: Mapping[Gateway, Mapping[int, float]]
    lane_shares: tuple[float, ...]
    thread_cpus: Mapping[tuple[Gateway, str], tuple[float, ...]]  # CPUs kept busy by each thread of a stage

    def data_plane_cpus(self, gateway: Gateway) -> float:
        """CPUs kept busy by the gateway's data plane."""
        return sum(cpus for (owner, _), cpus in self.stage_cpus.items() if owner == gateway)


@dataclass(frozen=True, slots=True)
class _Thread:
    gateway: Gateway
    stage: str
    name: str
    cpus: tuple[int, ...]  # where it may run; empty: anywhere
    busy_s_per_gbit: float  # of the whole link's goodput
    parallel: int = 1  # CPUs that it can use at once (more than one for a whole process)


@dataclass
class _Loads:
    """Work per Gbit of goodput that each resource is asked for."""

    pinned: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    floating: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(frozen=True)
class GatewayModel:
    """Two gateways and the link between them."""

    topologies: Mapping[Gateway, Topology]
    shared_machine: bool
    costs: CostParameters = CostParameters()

    def predict(self, candidate: Candidate, workload: Workload) -> Prediction:
        """Throughput, load of each stage and CPU, and the resource that limits them; no noise."""
        packet_bytes = self._packet_bytes(candidate, workload)
        shares = _lane_shares(candidate.lanes, workload.flows)
        threads = [thread for gateway in GATEWAYS for thread in self._threads(candidate, workload, gateway, shares)]
        generators = self._generator_s_per_gbit(workload, packet_bytes)
        loads = self._loads(threads, generators)
        limits = dict(self._limits(candidate, threads, loads, packet_bytes))
        bottleneck = min(limits, key=lambda name: limits[name])
        capacity = limits[bottleneck] * self._buffer_factor(candidate)
        offered = _offered_gbps(workload, packet_bytes, capacity)
        throughput = min(capacity, offered)
        headers = _TCP_IP_HEADERS_BYTES if workload.protocol == "tcp" else _UDP_IP_HEADERS_BYTES
        stage_cpus: dict[tuple[Gateway, str], float] = defaultdict(float)
        thread_cpus: dict[tuple[Gateway, str], tuple[float, ...]] = defaultdict(tuple)
        for thread in threads:
            stage_cpus[thread.gateway, thread.stage] += thread.busy_s_per_gbit * throughput
            thread_cpus[thread.gateway, thread.stage] += (thread.busy_s_per_gbit * throughput,)
        return Prediction(
            throughput_gbps=throughput,
            offered_gbps=offered,
            capacity_gbps=capacity,
            packets_per_s=throughput * 1e9 / 8 / (packet_bytes - headers),
            bottleneck="offered load" if offered < capacity else bottleneck,
            stage_cpus=dict(stage_cpus),
            cpu_busy_ratio={gateway: self._busy(gateway, loads, throughput) for gateway in GATEWAYS},
            lane_shares=shares,
            thread_cpus=dict(thread_cpus),
        )

    # -- work -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _packet_bytes(candidate: Candidate, workload: Workload) -> int:
        return min(round(workload.mean_packet_bytes(candidate.mtu)), candidate.mtu)

    def _threads(
        self, candidate: Candidate, workload: Workload, gateway: Gateway, shares: tuple[float, ...]
    ) -> Iterator[_Thread]:
        sets = {stage: parse_cpulist(text) for stage, text in getattr(candidate.cpu_sets, gateway).model_dump().items()}
        for direction in ("tx", "rx"):
            load = _direction_load(workload, gateway, direction)
            if load == 0:
                continue
            stage_costs = self._stage_costs(candidate, workload, gateway, direction)
            if candidate.spread == "bond" and direction == "tx":
                yield self._bond_reader(candidate, workload, gateway, sets[BOND_STAGE], load)
            for lane, share in enumerate(shares):
                for stage, count, cost_s in stage_costs:
                    for k in range(count):
                        number = _thread_number(candidate, direction, lane, k, count)
                        cpus = sets[stage]
                        if stage != "process" and cpus:
                            cpus = (cpus[number % len(cpus)],)
                        yield _Thread(
                            gateway=gateway,
                            stage=stage,
                            name=f"{stage} thread of lane {lane} at {gateway}",
                            cpus=cpus,
                            busy_s_per_gbit=cost_s / count * share * load,
                            parallel=4 if stage == "process" else 1,
                        )

    def _bond_reader(
        self, candidate: Candidate, workload: Workload, gateway: Gateway, cpus: tuple[int, ...], load: float
    ) -> _Thread:
        """The one thread that reads the device of a bond: half of the I/O and a hand-off, for all lanes (ADR 0006)."""
        costs, packet = self.costs, self._packet_bytes(candidate, workload)
        headers = _TCP_IP_HEADERS_BYTES if workload.protocol == "tcp" else _UDP_IP_HEADERS_BYTES
        io = costs.io_ns_per_packet + costs.io_ns_per_byte * packet + costs.io_ns_per_batch / candidate.batch_packets
        work_ns = io / 2 + self._hand_off_ns(candidate.batch_packets, candidate.lanes)
        return _Thread(
            gateway=gateway,
            stage=BOND_STAGE,
            name=f"the bond's reader at {gateway}",
            cpus=cpus[:1],
            busy_s_per_gbit=work_ns * 1e-9 * 1e9 / 8 / max(1, packet - headers) * load,
            parallel=1,
        )

    def _stage_costs(
        self, candidate: Candidate, workload: Workload, gateway: Gateway, direction: str
    ) -> list[tuple[str, int, float]]:
        """(stage, threads a lane, CPU seconds per Gbit of goodput) of one direction at one gateway."""
        costs, packet = self.costs, self._packet_bytes(candidate, workload)
        headers = _TCP_IP_HEADERS_BYTES if workload.protocol == "tcp" else _UDP_IP_HEADERS_BYTES
        packets_per_gbit = 1e9 / 8 / max(1, packet - headers)
        seconds = packets_per_gbit * 1e-9
        batch = candidate.batch_packets
        dearer = 1 + (costs.large_batch_ratio if batch > 64 else 0)
        dearer *= 1 + costs.lane_ratio * max(0, candidate.lanes - len(self.topologies[gateway].usable_cpus))
        io = costs.io_ns_per_packet + costs.io_ns_per_byte * packet + costs.io_ns_per_batch / batch
        if workload.protocol == "udp":
            io += costs.unsegmented_ns_per_packet
        aead = costs.aead_ns_per_packet + costs.aead_ns_per_byte * packet
        if candidate.engine == "kernel":
            return self._kernel_costs(candidate, gateway, direction, packet, seconds)
        if candidate.engine != "wirelane":
            remote = self._remote_ratio(candidate, gateway, "process")
            work = (io * remote + aead + 2 * self._hand_off_ns(64, self._cpus_of(candidate, gateway))) * dearer
            return [("process", 1, work * costs.wireguard_go_ratio * seconds)]
        if candidate.mode == "inline":
            return [(direction, 1, (io * self._remote_ratio(candidate, gateway, direction) + aead) * dearer * seconds)]
        workers = candidate.crypto_workers or 1
        hand_off = self._hand_off_ns(batch, workers) * self._hand_off_remote_ratio(candidate, gateway)
        read = (io / 2 * self._remote_ratio(candidate, gateway, "read") + hand_off / 2) * dearer
        write = (io / 2 * self._remote_ratio(candidate, gateway, "write") + hand_off / 2) * dearer
        return [
            ("read", 1, read * seconds),
            ("crypto", workers, (aead + hand_off) * dearer * seconds),
            ("write", 1, write * seconds),
        ]

    def _kernel_costs(
        self, candidate: Candidate, gateway: Gateway, direction: str, packet: int, seconds: float
    ) -> list[tuple[str, int, float]]:
        """The kernel's pipeline: encryption by a worker on each CPU, in-order work by one context a tunnel. Without
        threaded NAPI the receiving contexts of all tunnels crowd on the CPU that softirq chose."""
        costs, cpus = self.costs, len(self.topologies[gateway].usable_cpus)
        crowded = 1 if direction == "tx" or candidate.threaded_napi else min(candidate.lanes, cpus)
        crypto = costs.aead_ns_per_packet + costs.kernel_crypto_ns_per_byte * packet
        crypto += self._hand_off_ns(1, cpus) / 16  # the queue's bottom half handles a few packets at a time
        return [
            ("napi", 1, costs.kernel_serial_ns_per_packet * crowded * seconds),
            ("crypto", cpus, crypto * seconds),
        ]

    def _hand_off_ns(self, batch_packets: int, workers: int) -> float:
        """Cost per packet of passing it on to another thread."""
        fan_out = 1 + self.costs.fan_out_ratio * (max(1, workers).bit_length() - 1)
        return self.costs.hand_off_ns_per_packet + self.costs.hand_off_ns_per_batch / batch_packets * fan_out

    def _cpus_of(self, candidate: Candidate, gateway: Gateway) -> int:
        cpus = parse_cpulist(getattr(candidate.cpu_sets, gateway).process)
        return len(cpus) or len(self.topologies[gateway].usable_cpus)

    # -- where the work happens -----------------------------------------------------------------------------------

    def _remote_ratio(self, candidate: Candidate, gateway: Gateway, stage: str) -> float:
        """How much dearer a stage's I/O is for running where it does, compared with the NIC's own node."""
        topology = self.topologies[gateway]
        cpus = _reached_cpus(candidate, gateway, stage)
        nodes = [cpu.node for cpu in topology.usable if not cpus or cpu.cpu in cpus]
        # A virtual NIC is on no node, and near to all.
        on_node = bool(topology.nics) and topology.nics[0].node is not None
        distances = [topology.distance(topology.nic_node, node) if on_node else LOCAL_DISTANCE for node in nodes]
        ratio = 1 + self.costs.remote_node_ratio * (sum(distances) / len(nodes) / LOCAL_DISTANCE - 1)
        if candidate.numa_policy == "bind":
            # Bound to the CPUs' nodes: a little better on one node, a little worse over several.
            ratio *= 0.98 if len(set(nodes)) == 1 else 1.04
        return ratio if cpus else ratio * (1 + self.costs.unpinned_ratio)

    def _hand_off_remote_ratio(self, candidate: Candidate, gateway: Gateway) -> float:
        topology = self.topologies[gateway]
        reached = {cpu for stage in PIPELINED_STAGES for cpu in _reached_cpus(candidate, gateway, stage)}
        nodes = {cpu.node for cpu in topology.usable if not reached or cpu.cpu in reached}
        farthest = max(topology.distance(one, two) for one in nodes for two in nodes)
        return 1 + 2 * self.costs.remote_node_ratio * (farthest / LOCAL_DISTANCE - 1)

    def _host(self, gateway: Gateway) -> str:
        return "the shared machine" if self.shared_machine else f"gateway {gateway}"

    def _loads(self, threads: list[_Thread], generators: Mapping[Gateway, float]) -> _Loads:
        loads = _Loads()
        for thread in threads:
            host = self._host(thread.gateway)
            if not thread.cpus:
                loads.floating[host] += thread.busy_s_per_gbit
            for cpu in thread.cpus:
                loads.pinned[host, cpu] += thread.busy_s_per_gbit / len(thread.cpus)
        for gateway, busy in generators.items():
            loads.floating[self._host(gateway)] += busy
        return loads

    def _generator_s_per_gbit(self, workload: Workload, packet_bytes: int) -> dict[Gateway, float]:
        costs = self.costs
        per_packet = costs.generator_udp_ns_per_packet if workload.protocol == "udp" else costs.generator_ns_per_packet
        if workload.tool == "pktgen":
            per_packet /= 3
        ns_per_byte = costs.generator_ns_per_byte + per_packet / packet_bytes
        return dict.fromkeys(GATEWAYS, ns_per_byte * 1e9 / 8 * 1e-9)

    # -- limits ---------------------------------------------------------------------------------------------------

    def _limits(
        self, candidate: Candidate, threads: list[_Thread], loads: _Loads, packet_bytes: int
    ) -> Iterator[tuple[str, float]]:
        """The throughput in Gbit/s that each resource allows."""
        headers = packet_bytes + _WIREGUARD_HEADERS_BYTES
        goodput_ratio = (packet_bytes - _TCP_IP_HEADERS_BYTES) / headers
        yield "the link", self.costs.link_gbps * goodput_ratio
        yield from self._memory_and_queue_limits(candidate, packet_bytes, goodput_ratio)
        for thread in threads:
            if thread.busy_s_per_gbit > 0:
                yield thread.name, thread.parallel / thread.busy_s_per_gbit
        for (host, cpu), load in loads.pinned.items():
            if load > 0:
                yield f"CPU {cpu} of {host}", 1 / load
        for host, topology in {self._host(gateway): self.topologies[gateway] for gateway in GATEWAYS}.items():
            yield from self._core_limits(host, topology, loads)
            total = loads.floating[host] + sum(load for (owner, _), load in loads.pinned.items() if owner == host)
            capacity = sum(1.0 if len(core) == 1 else self.costs.smt_core_capacity for core in topology.cores)
            if self.shared_machine:
                capacity *= 1 - self.costs.alternation_ratio / candidate.lanes**2.5
            if total > 0:
                yield f"all CPUs of {host}", capacity / total

    def _memory_and_queue_limits(
        self, candidate: Candidate, packet_bytes: int, goodput_ratio: float
    ) -> Iterator[tuple[str, float]]:
        costs = self.costs
        for gateway in GATEWAYS:
            nodes = len(self.topologies[gateway].nodes)
            ends = 2 if self.shared_machine else 1
            yield (
                f"memory bandwidth of {self._host(gateway)}",
                nodes * costs.memory_gbytes_per_s * 8 / costs.memory_touches * goodput_ratio / ends,
            )
        # All inner flows of a lane share one outer 5-tuple, hence one receive queue and the CPU that serves it.
        queues = min(candidate.lanes, costs.nic_queues)
        per_queue_gbps = packet_bytes * 8 / costs.nic_queue_ns_per_packet
        yield "receive queues of the NIC", queues * per_queue_gbps * goodput_ratio

    def delay_us(self, candidate: Candidate, workload: Workload, load_ratio: float) -> float:
        """Mean time of a packet from gateway to gateway at a share (below 1) of what the candidate can carry: at each
        stage on the way its batch's service time and the wait of an M/D/1 queue. Raises ValueError."""
        if not 0 <= load_ratio < 1:
            raise ValueError("a queue is stable only below its capacity: load_ratio is from 0 to below 1")
        packet_bytes = self._packet_bytes(candidate, workload)
        headers = _TCP_IP_HEADERS_BYTES if workload.protocol == "tcp" else _UDP_IP_HEADERS_BYTES
        gbit = candidate.batch_packets * (packet_bytes - headers) * 8 / 1e9
        load_gbps = self.predict(candidate, workload).capacity_gbps * load_ratio
        share = max(_lane_shares(candidate.lanes, workload.flows))
        delay_s = 0.0
        for gateway, direction in (("a", "tx"), ("b", "rx")):
            for _, count, cost_s in self._stage_costs(candidate, workload, gateway, direction):  # type: ignore[arg-type]
                busy = min(0.999, cost_s / count * share * load_gbps)
                delay_s += cost_s * gbit * (1 + busy / (2 * (1 - busy)))
        return delay_s * 1e6

    def _core_limits(self, host: str, topology: Topology, loads: _Loads) -> Iterator[tuple[str, float]]:
        for core in topology.cores:
            load = sum(loads.pinned.get((host, cpu.cpu), 0.0) for cpu in core)
            if len(core) > 1 and load > 0:
                yield f"the core of CPU {core[0].cpu} of {host}", self.costs.smt_core_capacity / load

    def _buffer_factor(self, candidate: Candidate) -> float:
        """Small socket buffers overflow in bursts; very large ones outgrow the cache."""
        size = candidate.socket_buffer_bytes
        return size / (size + self.costs.buffer_reserve_bytes) * (0.985 if size > 8 << 20 else 1.0)

    def _busy(self, gateway: Gateway, loads: _Loads, throughput: float) -> dict[int, float]:
        """Busy ratio of each CPU; floating work goes to the least loaded ones."""
        host, topology = self._host(gateway), self.topologies[gateway]
        busy = {cpu: min(1.0, loads.pinned.get((host, cpu), 0.0) * throughput) for cpu in topology.usable_cpus}
        idle = sum(1 - ratio for ratio in busy.values())
        fill = min(1.0, loads.floating[host] * throughput / idle) if idle > 0 else 0.0
        return {cpu: ratio + (1 - ratio) * fill for cpu, ratio in busy.items()}


def _reached_cpus(candidate: Candidate, gateway: Gateway, stage: str) -> tuple[int, ...]:
    """The CPUs of a stage's set on which a thread runs; empty where the stage is not pinned."""
    cpus = parse_cpulist(getattr(getattr(candidate.cpu_sets, gateway), stage))
    return cpus if stage == "process" else cpus[: stage_threads(candidate)[stage]]


def _thread_number(candidate: Candidate, direction: str, lane: int, k: int, count: int) -> int:
    """Which thread of its stage it is: the k of "thread k runs on CPU k mod |set|"."""
    if candidate.mode == "inline" or candidate.engine == "kernel":
        return lane
    first = candidate.lanes * count if direction == "rx" else 0
    return first + lane * count + k


def _direction_load(workload: Workload, gateway: Gateway, direction: str) -> float:
    """Share of the link's goodput that one direction of one gateway handles; TCP's acknowledgements cost a little."""
    acknowledgements = 0.03 if workload.protocol == "tcp" else 0.0
    forward = {"forward": 1.0, "reverse": 0.0, "both": 0.5}[workload.direction]
    share = forward if (gateway == "a") == (direction == "tx") else 1 - forward
    return share + (1 - share) * acknowledgements


def _lane_shares(lanes: int, flows: int) -> tuple[float, ...]:
    """Flows are dealt out over the lanes evenly; lanes beyond the flows stay empty."""
    counts = [flows // lanes + (1 if lane < flows % lanes else 0) for lane in range(lanes)]
    return tuple(count / flows for count in counts)


def _offered_gbps(workload: Workload, packet_bytes: int, capacity_gbps: float) -> float:
    if workload.offered_load_gbps is not None:
        return workload.offered_load_gbps
    if workload.offered_load_pps is not None:
        return workload.offered_load_pps * (packet_bytes - _UDP_IP_HEADERS_BYTES) * 8 / 1e9
    # A TCP sender adapts; a UDP sender as fast as it can overruns the tunnel.
    return capacity_gbps if workload.protocol == "tcp" else capacity_gbps * 1.15
