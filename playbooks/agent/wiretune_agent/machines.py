"""The vm testbed: two QEMU machines on this one, with two NUMA nodes each, reached by SSH over their user-mode network.

Machine a and machine b exchange Ethernet frames over a pair of Unix datagram sockets, so that either can restart while
the other runs. Changes to the disk live in a temporary file of QEMU's: they outlast a reboot and not the machine.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wiretune_agent import image
from wiretune_agent.command import missing_program, run, spawn
from wiretune_agent.errors import AgentError
from wiretune_agent.processes import Process, stop

KVM = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_TIMEOUT_S = 240.0
KVM_TRIAL_S = 15.0
CPU_MODELS = {"kvm": "host", "tcg": "max,la57=off"}
NICS = {
    # With RSS like a NIC of a real gateway, though all of its hash leads to one queue.
    "virtio": "virtio-net-pci,rss=on",
    "vmxnet3": "vmxnet3",
    "e1000e": "e1000e",
}
"""Of the data link, as QEMU's options name them."""
LOOPBACK = "127.0.0.1"
MAC_PREFIX = "52:54:00:77:74"
"""Locally administered, and QEMU's own prefix."""
IDENTITY = """\
set -eu
for link in /sys/class/net/*; do
  case $(cat $link/address) in
    {mac}:01) ip link set "${{link##*/}}" name mgmt0 ;;
    {mac}:0[2-9]) ip link set "${{link##*/}}" name data0 ;;
  esac
done
ip address add 10.0.2.15/24 dev mgmt0
ip link set mgmt0 up
ip route add default via 10.0.2.2
ip address add {data_address} dev data0
ip link set data0 up
ip link set lo up
test -e /etc/ssh/ssh_host_ed25519_key || ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
"""


class Boot(NamedTuple):
    """What the machines of a testbed are started from, and how."""

    kernel: Path
    disk: Path
    distribution: str
    nic: str
    accelerator: str


def build_image(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Make the disk image unless it is cached. `arguments`: cache_folder, distribution."""
    if os.geteuid() != 0:
        raise AgentError("building the image of the virtual machines needs root", hint="run it with sudo")
    if shutil.which("qemu-system-x86_64") is None:
        raise missing_program("qemu-system-x86_64")
    _, _, made = image.ensure(Path(arguments["cache_folder"]), arguments["distribution"])
    return {"made": made}


def start(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Start both machines unless they run, and wait until their SSH servers answer.

    `arguments`: cache_folder, distribution, nic, state_folder, memory_mib, machines (two of: name, data_address with
    prefix length).
    Returns the management port of each on loopback, and the key that they accept.
    """
    folder = Path(arguments["state_folder"])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = folder / "id_ed25519"
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "wiretune", "-f", str(key)])
    record, distribution = _recorded(folder), arguments["distribution"]
    running = [entry for entry in record.values() if Process(*entry["process"]).alive]
    if len(running) < 2 or any(entry.get("distribution") != distribution for entry in running):
        _stop(folder)
        kernel, disk, _ = image.ensure(Path(arguments["cache_folder"]), distribution)
        accelerator = "kvm" if _kvm_boots(kernel, Path(arguments["cache_folder"])) else "tcg"
        boot = Boot(kernel, disk, distribution, NICS[arguments["nic"]], accelerator)
        record = {}
        for number, machine in enumerate(arguments["machines"]):
            _write_seed(folder, machine, key.with_suffix(".pub").read_text())
            record[machine["name"]] = _launch(folder, machine, number, arguments["memory_mib"], boot)
            (folder / "machines.json").write_text(json.dumps(record))
    for name, entry in record.items():
        _await_ssh(folder, name, entry)
    return {
        "ports": {name: entry["port"] for name, entry in record.items()},
        "key_file": str(key),
        "emulated": any(entry["accelerator"] == "tcg" for entry in record.values()),
    }


def remove(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """End both machines and forget them; the cached image stays. `arguments`: state_folder."""
    folder = Path(arguments["state_folder"])
    _stop(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return {}


def _recorded(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "machines.json").read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _stop(folder: Path) -> None:
    stop([Process(*entry["process"]) for entry in _recorded(folder).values()], grace_s=5)


def _write_seed(folder: Path, machine: Mapping[str, Any], public_key: str) -> None:
    """The second disk: a tar archive that the machine unpacks over its root as it boots."""
    files = {
        "root/.ssh/authorized_keys": (public_key, 0o600),
        # There is no DNS to ask: whoever looks up the machine's own name, as sudo does, would wait for it.
        "etc/hosts": (f"127.0.0.1 localhost\n127.0.1.1 gateway-{machine['name']}\n", 0o644),
        "etc/wiretune-vm.sh": (IDENTITY.format(mac=MAC_PREFIX, data_address=machine["data_address"]), 0o644),
    }
    with tarfile.open(folder / f"{machine['name']}.seed", "w") as tar:
        for name, (text, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), mode
            tar.addfile(entry, io.BytesIO(text.encode()))
    with (folder / f"{machine['name']}.seed").open("ab") as file:
        file.truncate(1 << 20)


def _launch(folder: Path, machine: Mapping[str, Any], number: int, memory_mib: int, boot: Boot) -> dict[str, Any]:
    """Start one machine."""
    name, port, distribution = machine["name"], _free_port(), image.DISTRIBUTIONS[boot.distribution]
    near, far = (folder / f"data-{index}.sock" for index in (number, 1 - number))
    near.unlink(missing_ok=True)
    append = f"root={distribution.root_device} rw console=ttyS0 quiet mitigations=off net.ifnames=0"
    append += f" systemd.hostname=gateway-{name}"
    disks = {
        "nvme": ["-device", "nvme,drive=root,serial=root", "-device", "nvme,drive=seed,serial=seed"],
        "ide": [
            "-device", "piix4-ide,id=disks",
            "-device", "ide-hd,bus=disks.0,unit=0,drive=root", "-device", "ide-hd,bus=disks.0,unit=1,drive=seed",
        ],
    }  # fmt: skip
    argv = [
        "qemu-system-x86_64", "-name", f"wiretune-{name}", "-machine", f"q35,accel={boot.accelerator}",
        "-cpu", CPU_MODELS[boot.accelerator], "-smp", "4,sockets=2,cores=2", "-m", f"{memory_mib}",
        "-object", f"memory-backend-ram,id=node0,size={memory_mib // 2}M",
        "-object", f"memory-backend-ram,id=node1,size={memory_mib // 2}M",
        "-numa", "node,nodeid=0,cpus=0-1,memdev=node0", "-numa", "node,nodeid=1,cpus=2-3,memdev=node1",
        "-numa", "dist,src=0,dst=1,val=21",
        "-kernel", str(boot.kernel), "-append", append,
        "-drive", f"if=none,id=root,file={boot.disk},format=raw,snapshot=on",
        "-drive", f"if=none,id=seed,file={folder / name}.seed,format=raw,snapshot=on",
        *disks[distribution.disks],
        "-netdev", f"user,id=mgmt,restrict=on,hostfwd=tcp:{LOOPBACK}:{port}-:22",
        "-device", f"virtio-net-pci,netdev=mgmt,mac={MAC_PREFIX}:01",
        "-netdev", f"dgram,id=data,local.type=unix,local.path={near},remote.type=unix,remote.path={far}",
        "-device", f"{boot.nic},netdev=data,mac={MAC_PREFIX}:0{number + 2}",
        "-display", "none", "-monitor", "none", "-serial", f"file:{folder / name}.console",
    ]  # fmt: skip
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    identity = Process.of(process.pid)
    return {
        "process": identity, "port": port, "accelerator": boot.accelerator, "distribution": boot.distribution
    }  # fmt: skip


def _kvm_boots(kernel: Path, cache_folder: Path) -> bool:
    """Whether a guest really boots with KVM: a device node that opens proves nothing.

    Found out once in each boot of this machine: where KVM hangs, that costs as much as it takes to boot without.
    """
    if not KVM.exists():
        return False
    record, boot_id = cache_folder / "kvm.json", BOOT_ID.read_text().strip()
    with contextlib.suppress(FileNotFoundError, ValueError):
        known = json.loads(record.read_text())
        if isinstance(known, dict) and known.get("boot_id") == boot_id:
            return known.get("boots") is True
    boots = _kvm_boots_now(kernel)
    record.write_text(json.dumps({"boot_id": boot_id, "boots": boots}))
    return boots


def _kvm_boots_now(kernel: Path) -> bool:
    argv = ["qemu-system-x86_64", "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "128", "-display", "none"]
    argv += ["-monitor", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(kernel)]
    guest = spawn([*argv, "-append", "console=ttyS0 panic=-1"])
    try:
        output, _ = guest.communicate(timeout=KVM_TRIAL_S)
    except subprocess.TimeoutExpired:
        guest.kill()
        output, _ = guest.communicate()
    return "Linux version" in output


def _await_ssh(folder: Path, name: str, entry: Mapping[str, Any]) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while not _ssh_answers(entry["port"]):
        if not Process(*entry["process"]).alive:
            log = (folder / f"{name}.log").read_text(errors="replace")
            raise AgentError(f"virtual machine {name} ended as it started: {log[-300:]}", detail=log)
        if time.monotonic() > deadline:
            console = (folder / f"{name}.console").read_text(errors="replace")[-2000:]
            raise AgentError(f"virtual machine {name} did not boot within {BOOT_TIMEOUT_S:g} s", detail=console)
        time.sleep(0.5)


def _ssh_answers(port: int) -> bool:
    """QEMU accepts the connection before the machine does: only the server's banner proves anything."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2) as probe:
            probe.settimeout(10)
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
