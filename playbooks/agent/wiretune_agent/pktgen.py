"""Packet rate at a fixed size: generated on `gen` of one gateway, routed through the tunnel, counted at the far `gen`.

The kernel's pktgen does it where the kernel has it (Documentation/networking/pktgen.rst). It wants an Ethernet device,
hence the veth pair `inside`-`gen` rather than the tunnel's own. Elsewhere DPDK's testpmd replays a small capture of
ready-made packets in a circle: one packet a flow, so that we choose the flows, and with them the lanes.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiretune_agent import flows
from wiretune_agent.command import attempt, missing_program, run, spawn
from wiretune_agent.errors import AgentError
from wiretune_agent.frames import DISCARD_PORT, ETHERNET_BYTES, IMIX, End, capture_file, mixed_sizes, udp_frame
from wiretune_agent.inner_network import counter

if TYPE_CHECKING:
    from wiretune_agent.rendezvous import Caller
    from wiretune_agent.traffic import Setup

KERNEL_PKTGEN = Path("/proc/net/pktgen")
SOURCE_PORTS = range(10000, 60000)
START_TIMEOUT_S = 10.0
SETTLE_S = 0.3
DRAIN_S = 0.25
"""Longer than any queue of a gateway holds a packet. RFC 2544 waits for two seconds, which a search cannot afford."""
POLL_S = 0.05
TESTPMD_MEMORY_MIB = 128


def lead(setup: Setup, caller: Caller, index: int, workload: Mapping[str, Any]) -> dict[str, Any]:
    """Gateway a's part. The generator warms everything up, pauses, sends for the window, pauses; what is still on its
    way then may arrive, so that packets sent and arrived are counted exactly (RFC 2544, section 24)."""
    sends = workload["direction"] == "forward"
    far = caller.ask("prepare", timeout_s=START_TIMEOUT_S + 5, workload=index)
    generator = Generator(setup, workload) if sends else None
    try:
        if generator is not None:
            generator.start()
            _wait(setup, caller, generator, SETTLE_S)
            generator.pause()
        _wait(setup, caller, None, DRAIN_S)
        caller.ask("open")
        opened = setup.watch.moment()
        if generator is not None:
            generator.resume()
        _wait(setup, caller, generator, workload["duration_s"])
        if generator is not None:
            generator.pause()
        closed = setup.watch.moment()
        caller.ask("close")
        _wait(setup, caller, None, DRAIN_S)
        drained = setup.watch.moment()["net_dev"]
        caller.ask("drained")
    finally:
        if generator is not None:
            generator.stop()
    caller.ask("finish")
    described = generator.described() if generator is not None else far
    warnings = flows.uneven(workload["flows"], setup.devices)
    return {
        "opened": opened,
        "closed": closed,
        "drained_net_dev": drained,
        "outputs": [],
        "reversed": [],
        "warnings": warnings,
        **described,
    }


class FarEnd:
    """Gateway b's part: the receiver, or the sender of a reverse workload."""

    def __init__(self, setup: Setup, workload: Mapping[str, Any]) -> None:
        self._setup = setup
        self._generator = Generator(setup, workload) if workload["direction"] == "reverse" else None

    def prepare(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer for the receiving host; a sender has warmed up and pauses when this returns."""
        if self._generator is None:
            return {}
        self._generator.start()
        time.sleep(SETTLE_S)
        self._generator.pause()
        return self._generator.described()

    def opened(self) -> None:
        """Send from now on."""
        if self._generator is not None:
            self._generator.resume()

    def closing(self) -> None:
        """Send no more."""
        if self._generator is not None:
            self._generator.check()
            self._generator.pause()

    def finish(self) -> dict[str, Any]:
        """End the generator."""
        if self._generator is not None:
            self._generator.stop()
        return {}


class Generator:
    """Sends the workload's packets into this gateway until it is stopped."""

    def __init__(self, setup: Setup, workload: Mapping[str, Any]) -> None:
        self._setup, self._workload = setup, workload
        self._process: subprocess.Popen[str] | None = None
        self._argv: list[str] = []
        self._version = ""

    def start(self) -> None:
        """Returns when packets arrive at the gateway. Raises AgentError when they do not."""
        before = _received_packets("inside")
        if kernel_pktgen_present():
            self._start_kernel()
        else:
            self._start_testpmd()
        deadline = time.monotonic() + START_TIMEOUT_S
        while _received_packets("inside") < before + self._workload["flows"]:
            self.check()
            self._setup.watch.check()
            if time.monotonic() > deadline:
                raise AgentError(f"the packet generator sent nothing within {START_TIMEOUT_S:g} s")
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raises AgentError if the generator has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            output, errors = (text.strip() for text in self._process.communicate(timeout=1))
            raise AgentError(f"the packet generator ended by itself: {errors[-300:]}", detail=output + errors)

    def pause(self) -> None:
        """Send nothing until `resume`; what was sent goes on its way."""
        if self._process is None:
            return
        if kernel_pktgen_present():
            self._process.kill()
            self._process.wait(timeout=5)
            self._process = None
        else:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send again, as before `pause`."""
        if kernel_pktgen_present():
            self._run_kernel_threads()
        elif self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the generator, and take away what it needed."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired, ValueError):  # ValueError: its output was read before.
                self._process.communicate(timeout=5)
            self._process = None
        if self._workload["offered_load_pps"] is not None:
            # There is no such queue where `start` failed before it had made one.
            attempt(["tc", "qdisc", "delete", "dev", "gen", "root"])

    def described(self) -> dict[str, Any]:
        """Command line and version, for the record."""
        return {"argv": [self._argv], "tool_version": self._version}

    def _start_testpmd(self) -> None:
        if shutil.which("dpdk-testpmd") is None:
            raise missing_program("dpdk-testpmd")
        self._version = (
            attempt(["dpkg-query", "-W", "-f", "dpdk-testpmd ${Version}", "dpdk-dev"]).stdout or "dpdk-testpmd"
        )
        capture = self._setup.state_folder / "generated.pcap"
        ports = _source_ports(self._setup, self._workload["flows"])
        sender = End(_mac("gen"), counter(self._setup.inner_address))
        target = End(_mac("inside"), counter(self._setup.far_inner_address))
        frames = [udp_frame(sender, target, port, size) for size in self._sizes() for port in ports]
        capture.write_bytes(capture_file(frames))
        paced = self._workload["offered_load_pps"] is not None
        if paced:
            self._pace()
        cpus = ",".join(map(str, self._cpus()))
        self._argv = [
            "dpdk-testpmd", f"--lcores=0@({cpus}),1@({cpus})", "--no-huge", "-m", str(TESTPMD_MEMORY_MIB), "--no-pci",
            "--no-shconf", "--no-telemetry",
            f"--vdev=net_af_packet0,iface=gen,qdisc_bypass={0 if paced else 1}",
            f"--vdev=net_pcap0,rx_pcap={capture},infinite_rx=1",
            "--", "--forward-mode=io", "--total-num-mbufs=4096", "--no-mlockall",
        ]  # fmt: skip
        # testpmd ends at the end of its standard input: an open pipe keeps it, and our own end ends it.
        # It makes a folder for run-time files even where it has none: in ours, that goes with the testbed.
        environment = {"RUNTIME_DIRECTORY": str(self._setup.state_folder)}
        self._process = spawn(self._argv, stdin=subprocess.PIPE, env=environment)

    def _sizes(self) -> list[int]:
        """Packet sizes of one round through every flow."""
        if self._workload.get("imix"):
            return mixed_sizes(self._setup.mtu)
        return [self._workload["packet_bytes"] or self._setup.mtu]

    def _cpus(self) -> list[int]:
        """Where the generator runs: away from the data plane, if that leaves it anything."""
        allowed = os.sched_getaffinity(0)
        return sorted(allowed - self._setup.data_plane_cpus or allowed)

    def _pace(self) -> None:
        frames = [size + ETHERNET_BYTES for size in self._sizes()]
        bits_per_s = self._workload["offered_load_pps"] * sum(frames) / len(frames) * 8
        # A burst of 2 ms keeps the pace smooth, and of 32 packets lets slow paces through at all.
        burst_bytes = max(round(bits_per_s / 8 * 0.002), 32 * max(frames))
        shape = ["tbf", "rate", f"{round(bits_per_s)}bit", "burst", str(burst_bytes), "limit", str(2 * burst_bytes)]
        run(["tc", "qdisc", "replace", "dev", "gen", "root", *shape])

    def _start_kernel(self) -> None:
        count = self._workload["flows"]
        self._version = attempt(["uname", "-r"]).stdout.strip() + " pktgen"
        threads = sorted(KERNEL_PKTGEN.glob("kpktgend_*"), key=lambda path: int(path.name.rpartition("_")[2]))
        for thread in threads:
            thread.write_text("rem_device_all\n")
        # One thread a CPU, named by it; those beside the data plane stay idle.
        away = {f"kpktgend_{cpu}" for cpu in self._cpus()}
        threads = [thread for thread in threads if thread.name in away] or threads
        for number, port in enumerate(_source_ports(self._setup, count)):
            device = f"gen@{number}"
            threads[number % len(threads)].write_text(f"add_device {device}\n")
            settings = [
                "count 0", "clone_skb 0", "burst 1", *self._kernel_sizes(),
                f"dst_mac {_mac('inside')}", f"src_min {counter(self._setup.inner_address)}",
                f"dst {counter(self._setup.far_inner_address)}", f"udp_src_min {port}", f"udp_src_max {port}",
                f"udp_dst_min {DISCARD_PORT}", f"udp_dst_max {DISCARD_PORT}",
            ]  # fmt: skip
            if self._workload["offered_load_pps"] is not None:
                settings.append(f"ratep {max(1, round(self._workload['offered_load_pps'] / count))}")
            for setting in settings:
                (KERNEL_PKTGEN / device).write_text(setting + "\n")
        self._run_kernel_threads()

    def _kernel_sizes(self) -> list[str]:
        """Frame sizes as pktgen takes them; `imix_weights` came with Linux 5.15."""
        if not self._workload.get("imix"):
            return [f"pkt_size {self._sizes()[0] + ETHERNET_BYTES}"]
        weights = (f"{min(size, self._setup.mtu) + ETHERNET_BYTES},{count}" for size, count in IMIX)
        return [f"imix_weights {' '.join(weights)}"]

    def _run_kernel_threads(self) -> None:
        # Writing "start" blocks until the threads are stopped; a signal to the writer stops them.
        self._argv = ["dd", "if=/dev/stdin", f"of={KERNEL_PKTGEN / 'pgctrl'}", "status=none"]
        self._process = spawn(self._argv, stdin=subprocess.PIPE)
        assert self._process.stdin is not None  # noqa: S101 - it was asked for in the line above
        self._process.stdin.write("start\n")
        self._process.stdin.close()


def kernel_pktgen_present() -> bool:
    """Whether this kernel has pktgen; loads its module where there is one."""
    if not KERNEL_PKTGEN.exists() and shutil.which("modprobe"):
        attempt(["modprobe", "-q", "pktgen"])
    return (KERNEL_PKTGEN / "pgctrl").exists()


def _source_ports(setup: Setup, count: int) -> list[int]:
    """One source port a flow; flow k takes lane k mod lanes."""
    width = flows.candidates_per_flow(setup.devices)
    source, target = counter(setup.inner_address), counter(setup.far_inner_address)
    chosen: list[int] = []
    for number in range(count):
        start = random.randrange(SOURCE_PORTS.start, SOURCE_PORTS.stop - width)  # noqa: S311 - spreads ports, no secret
        ports = range(start, start + width)
        lanes = flows.lanes_of([flows.Path4("udp", source, target, port, DISCARD_PORT, "inside") for port in ports])
        index = flows.choose(lanes, lanes, number % setup.devices)
        if index is None:
            raise AgentError(f"no port of {width} leads a flow to lane {number % setup.devices}", blame="candidate")
        chosen.append(ports[index])
    return chosen


def _mac(interface: str) -> str:
    return Path(f"/sys/class/net/{interface}/address").read_text().strip()


def _received_packets(interface: str) -> int:
    return int(Path(f"/sys/class/net/{interface}/statistics/rx_packets").read_text())


def _wait(setup: Setup, caller: Caller, generator: Generator | None, duration_s: float) -> None:
    deadline = time.monotonic() + duration_s
    while (left_s := deadline - time.monotonic()) > 0:
        setup.watch.check()
        caller.check()
        if generator is not None:
            generator.check()
        time.sleep(min(POLL_S, left_s))
