"""Leases and their watcher, with threads for processes: whatever comes first, a lease has a watcher that stays."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from wiretune_agent import lease


def test_a_lease_that_is_armed_as_a_watcher_leaves_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watchers: list[threading.Thread] = []

    def start(argv: list[str], **_: Any) -> None:
        watchers.append(threading.Thread(target=lease.watch, args=(Path(argv[-1]),)))
        watchers[-1].start()

    monkeypatch.setattr(lease.subprocess, "Popen", start)
    monkeypatch.setattr(lease, "SYSTEMD", tmp_path / "no systemd")
    monkeypatch.setattr(lease, "POLL_S", 0.001)
    moments = random.Random(1)
    for _ in range(300):
        lease.arm(tmp_path, 3600)
        time.sleep(moments.uniform(0, 0.003))  # one that was about to leave does so
        assert any(watcher.is_alive() for watcher in watchers), "nobody watches the lease"
        lease.end(tmp_path)
        time.sleep(moments.uniform(0, 0.003))
    for watcher in watchers:
        watcher.join(60)
        assert not watcher.is_alive(), "a watcher outlives its lease"


@pytest.mark.parametrize("written", ["{", "{}", '{"ends_at_s": NaN}', '{"ends_at_s": "soon"}', "[]"])
def test_a_damaged_lease_has_ended(tmp_path: Path, written: str) -> None:
    (tmp_path / lease.LEASE).write_text(written)
    lease.watch(tmp_path)
    assert (tmp_path / lease.ENDED).exists()
    assert not (tmp_path / lease.LEASE).exists()
