"""What a running wirelane may do, and what it must not keep: read from /proc, and tried."""

from __future__ import annotations

import base64
import pathlib
import re
from collections.abc import Iterator

import pytest
from wirelane_lab import INNER, UNDERLAY, Device, Lab, lab, require_root, sh, wait_until, wirelane_program

pytestmark = pytest.mark.root

PROCESS_MAY = 1 << 10 | 1 << 12  # CAP_NET_BIND_SERVICE, CAP_NET_ADMIN
FILTERED = "2"  # SECCOMP_MODE_FILTER


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    require_root()
    with lab(tmp_path) as made:
        yield made


def statuses(pid: int) -> dict[str, dict[str, str]]:
    """The status of every thread, by the thread's name."""
    found = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        fields = dict(re.findall(r"^(\w+):\s*(.*)$", (task / "status").read_text(), re.MULTILINE))
        found[f"{fields['Name']} {task.name}"] = fields
    return found


@pytest.mark.parametrize("mode", ["inline", "pipelined"])
def test_every_thread_has_what_it_needs_and_no_more(two: Lab, mode: str) -> None:
    device = two.start("a", wirelane_program(), {"WIRELANE_MODE": mode})
    threads = statuses(device.process.pid)
    packet_threads = [name for name in threads if not name.startswith(("wirelane", "signals", "uapi", "ctl"))]
    assert len(packet_threads) == (2 if mode == "inline" else 6), list(threads)
    for name, status in threads.items():
        may = 0 if name in packet_threads else PROCESS_MAY
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == may, name
        assert int(status["CapBnd"], 16) == PROCESS_MAY, name
        assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0, name
        assert status["NoNewPrivs"] == "1", name
        if "Seccomp" in status:  # a kernel without it
            assert status["Seccomp"] == FILTERED, name
            assert status.get("Seccomp_filters", "") in ("", "2" if name in packet_threads else "1"), name
    limits = pathlib.Path(f"/proc/{device.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), "a core dump would hold keys"


def test_confined_it_can_still_be_reconfigured(two: Lab) -> None:
    ours, theirs = (two.start(side, wirelane_program()) for side in "ab")
    two.connect(ours, theirs)
    assert two.ping("a")
    two.set(ours, "listen-port", "53", "fwmark", "0x33")  # a port that takes a privilege, and a mark that does too
    assert two.ping("a") and two.ping("b")
    assert two.dump(theirs)["endpoint"] == f"{UNDERLAY['a']}:53"
    two.set(ours, "peer", theirs.public_key, "remove")
    two.connect(ours, theirs, preshared_key=None)
    assert two.ping("a", INNER["b"])


def memory(pid: int) -> bytes:
    """All that the process could give away: its writable private memory."""
    found = []
    with pathlib.Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            if line.split()[1].startswith("rw") and "[v" not in line:
                start, end = (int(text, 16) for text in line.split()[0].split("-"))
                mem.seek(start)
                while start < end:
                    piece = mem.read(min(end - start, 1 << 20))
                    if not piece:
                        break
                    found.append(piece)
                    start += len(piece)
    return b"".join(found)


def forms(key: str) -> dict[str, bytes]:
    """How a key may lie about: raw, as the UAPI writes it, as files hold it."""
    raw = base64.b64decode(key)
    return {"raw": raw, "hexadecimal": raw.hex().encode(), "base64": key.encode()}


def test_keys_are_wiped_when_they_are_replaced(two: Lab) -> None:
    """The whole memory is searched: for the key that is in use, to see that the search works, and for the old ones."""
    ours, theirs = (two.start(side, wirelane_program()) for side in "ab")
    psk = sh("wg", "genpsk").strip()
    two.connect(ours, theirs, preshared_key=psk)
    assert two.ping("a")
    old, (new, _) = ours.private_key, two.keys()
    present = memory(ours.process.pid)
    assert forms(old)["raw"] in present and forms(psk)["raw"] in present, "the search finds keys that are in use"
    two.set(ours, "peer", theirs.public_key, "remove")
    two.set(ours, "private-key", two.key_file("new", new))
    wait_until(lambda: leftovers(ours, old, psk) == [], f"no trace of the old keys: {leftovers(ours, old, psk)}")
    assert forms(new)["raw"] in memory(ours.process.pid)


def leftovers(device: Device, *keys: str) -> list[str]:
    present = memory(device.process.pid)
    return [f"key {i} {form}" for i, key in enumerate(keys) for form, text in forms(key).items() if text in present]
