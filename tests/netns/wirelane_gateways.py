"""Two namespaces with a gateway of several lanes in each, both run by `wirelane run`. For test_wirelane_*.py."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from wirelane_lab import UNDERLAY, Lab, lab, require_root, sh, wait_until, wirelane_program

LANES = 2
INSIDE = {"a": "198.19.1", "b": "198.19.2"}


@contextlib.contextmanager
def gateway_lab(folder: pathlib.Path) -> Iterator[Lab]:
    """A lab whose sides have an inner network each, and spread routes over lanes by ports."""
    require_root()
    with lab(folder) as made:
        for side in "ab":
            made.run(side, "sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")
            sh("ip", "-n", made.namespace(side), "addr", "add", f"{INSIDE[side]}.1/32", "dev", "lo")
        yield made


class Gateways:
    """Configuration of both gateways, with a key a lane; `start` runs one."""

    def __init__(self, two: Lab, head: str = "", *, bond: bool = False, cpu_sets: str = 'tx = "0"\nrx = "1"\n') -> None:
        self.two, self.head, self.bond, self.cpu_sets = two, head, bond, cpu_sets
        self.keys = {(side, lane): two.keys() for side in "ab" for lane in range(LANES)}

    def config(self, side: str, head: str = "", lanes: Sequence[int] = range(LANES)) -> pathlib.Path:
        other = "b" if side == "a" else "a"
        text = f'{head or self.head}\ncontrol_socket = "{self.control(side)}"\n'
        text += f'ecmp_routes = ["{INSIDE[other]}.0/24"]\nroute_source = "{INSIDE[side]}.1"\n'
        text += 'spread = "bond"\n' if self.bond else ""
        # Tables come after the plain fields.
        text += "[cpu_sets]\n" + ('crypto = "0-1"\n' if "pipelined" in text else self.cpu_sets)
        if self.bond:
            text += (
                f'[bond]\ninterface = "{self.interface(side, 0)}"\naddresses = ["198.18.128.{int(side == "b")}/31"]\n'
            )
        for lane in lanes:
            key = self.two.key_file(f"lane{lane}{side}", self.keys[side, lane][0])
            text += f'[[lane]]\nlisten_port = {51820 + lane}\nprivate_key_file = "{key}"\n'
            if not self.bond:
                text += f'interface = "{self.interface(side, lane)}"\n'
                text += f'addresses = ["198.18.128.{2 * lane + (side == "b")}/31"]\n'
            text += f'[[lane.peer]]\npublic_key = "{self.keys[other, lane][1]}"\n'
            text += f'endpoint = "{UNDERLAY[other]}:{51820 + lane}"\n'
            inner = 0 if self.bond else 2 * lane
            text += f'allowed_ips = ["198.18.128.{inner + (side == "a")}/32", "{INSIDE[other]}.0/24"]\n'
        path = self.two.folder / f"{side}.toml"
        path.write_text(text)
        return path

    def interface(self, side: str, lane: int) -> str:
        return f"{self.two.device_name(side)}{lane}"

    def control(self, side: str) -> pathlib.Path:
        return self.two.folder / f"{side}.sock"

    def start(self, side: str, head: str = "", lanes: Sequence[int] = range(LANES)) -> subprocess.Popen[str]:
        log = self.two.folder / f"{side}.log"
        config = str(self.config(side, head, lanes))
        process = self.two.popen(side, wirelane_program(), "run", "--config", config, log=log)
        wait_until(lambda: process.poll() is not None or "ready\n" in log.read_text(), "ready")
        assert process.poll() is None, log.read_text()
        return process

    def ask(self, side: str, subject: str) -> list[dict[str, Any]]:
        text = self.two.run(side, wirelane_program(), subject, "--control", str(self.control(side)), "--json")
        lanes = json.loads(text)["lanes"]
        assert isinstance(lanes, list)
        return lanes

    def apply(self, side: str, config: pathlib.Path, *options: str) -> str:
        """What `wirelane apply` says; it must succeed."""
        return self.two.run(side, *self.apply_command(side, config), *options)

    def apply_command(self, side: str, config: pathlib.Path) -> list[str]:
        return [wirelane_program(), "apply", "--control", str(self.control(side)), "--config", str(config)]

    def bond_stats(self, side: str) -> dict[str, Any]:
        """Counters of the device of a bond."""
        text = self.two.run(side, wirelane_program(), "stats", "--control", str(self.control(side)), "--json")
        bond = json.loads(text)["bond"]
        assert isinstance(bond, dict)
        return bond
