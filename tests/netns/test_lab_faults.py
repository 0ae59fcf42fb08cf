"""What goes wrong in a lab: each fault gets a clear error within its time, and the next trial works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_testbed import NOTHING, processes_inside, processes_mentioning, traces, wait_until

from app.lab.driver import CandidateFailed, LabCancelled, LabError
from app.lab.engine_programs import EnginePrograms
from app.lab.netns import NetnsDriver
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.samples import Workload

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]

NAME = "labfault"
A, B = f"wt-{NAME}-a", f"wt-{NAME}-b"
SHORT = Workload(duration_s=1, flows=1)
LONG = Workload(duration_s=30, flows=2)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def driver() -> Iterator[NetnsDriver]:
    driver = NetnsDriver(NAME)
    driver.teardown()
    driver.provision(lambda *_: None, lambda: False)
    yield driver
    driver.teardown()
    wait_until(lambda: traces(NAME) == NOTHING, 5)


def run(
    driver: NetnsDriver, candidate: Candidate, workload: Workload, cancel: Callable[[], bool] = lambda: False
) -> None:
    driver.run_trial(candidate, [workload], lambda *_: None, cancel)


def meanwhile(action: Callable[[], object], namespace: str = A, program: str = "iperf3") -> threading.Thread:
    """Do something as soon as a program has run in a namespace for a moment."""

    def act() -> None:
        wait_until(lambda: program in processes_inside(namespace), 30)
        time.sleep(0.3)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def signal_inside(namespace: str, program: str, number: signal.Signals) -> None:
    pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, check=True, text=True).stdout
    for pid in pids.split():
        if Path(f"/proc/{pid}/comm").read_text().strip() == program:
            os.kill(int(pid), number)


def test_engine_killed_during_a_measurement(driver: NetnsDriver) -> None:
    thread = meanwhile(lambda: signal_inside(B, "wirelane", signal.SIGKILL))
    with pytest.raises(CandidateFailed, match="died during the measurement"):
        run(driver, Candidate(), LONG)
    thread.join()
    assert processes_inside(A) == processes_inside(B) == []
    run(driver, Candidate(), SHORT)


def test_namespace_deleted_during_a_trial_is_healed(driver: NetnsDriver) -> None:
    engine: list[list[int]] = []

    def delete() -> None:
        engine.extend(json.loads(Path(f"/run/wiretune/{NAME}-b/engine.json").read_text()))
        subprocess.run(["ip", "netns", "delete", B], check=True)
        subprocess.run(["ip", "-n", A, "link", "delete", "underlay"], check=True)

    thread = meanwhile(delete)
    with pytest.raises(LabError, match=f"namespace {B} is gone") as caught:
        run(driver, Candidate(), Workload(duration_s=2, flows=1))
    thread.join()
    assert not isinstance(caught.value, CandidateFailed)
    assert "provision" in caught.value.hint
    driver.provision(lambda *_: None, lambda: False)
    (pid, _), *_ = engine
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 2)
    run(driver, Candidate(), SHORT)


def test_a_dead_link_is_not_the_candidates_fault(driver: NetnsDriver) -> None:
    link = ["ip", "-n", B, "link", "set", "underlay"]
    subprocess.run([*link, "down"], check=True)
    try:
        with pytest.raises(LabError, match="the link is dead") as caught:
            run(driver, Candidate(), SHORT)
        assert not isinstance(caught.value, CandidateFailed)
        assert "check the link" in caught.value.hint
    finally:
        subprocess.run([*link, "up"], check=True)


def test_a_dead_tunnel_on_a_link_that_lives_is(driver: NetnsDriver) -> None:
    thread = meanwhile(lambda: subprocess.run(["ip", "-n", B, "link", "set", "wl0", "down"], check=True))
    with pytest.raises(CandidateFailed, match="stopped carrying traffic"):
        run(driver, Candidate(), SHORT)
    thread.join()


def test_hanging_iperf3_ends_within_its_time(driver: NetnsDriver) -> None:
    thread = meanwhile(lambda: signal_inside(B, "iperf3", signal.SIGSTOP))
    started = time.monotonic()
    with pytest.raises(LabError, match="iperf3 did not finish within 12 s") as caught:
        run(driver, Candidate(), Workload(duration_s=2, flows=1))
    thread.join()
    assert not isinstance(caught.value, CandidateFailed)
    assert time.monotonic() - started < 30
    assert processes_inside(A) == processes_inside(B) == []


def test_port_in_use(driver: NetnsDriver) -> None:
    holder = [sys.executable, "-c", "import socket, time; s = socket.socket(2, 2); s.bind(('', 51821)); time.sleep(60)"]
    with subprocess.Popen(["ip", "netns", "exec", A, *holder]) as process:
        try:
            wait_until(
                lambda: (
                    ":51821"
                    in subprocess.run(
                        ["ip", "netns", "exec", A, "ss", "-una"], capture_output=True, check=True, text=True
                    ).stdout
                )
            )
            with pytest.raises(LabError, match="UDP port 51821 of the gateway is in use") as caught:
                run(driver, Candidate(lanes=2), SHORT)
            assert caught.value.hint
        finally:
            process.kill()
    run(driver, Candidate(lanes=2), SHORT)


@pytest.mark.parametrize("engine", ["wirelane", "wireguard-go"])
def test_impossible_cpu_set(driver: NetnsDriver, engine: str) -> None:
    if engine == "wirelane":
        candidate = Candidate(cpu_sets=GatewayCpuSets(b=StageCpuSets(rx="4000")))
    else:
        candidate = Candidate(engine="wireguard-go", mode=None, cpu_sets=GatewayCpuSets(b=StageCpuSets(process="4000")))
    with pytest.raises(CandidateFailed, match=r"gateway b: .*ended with exit code"):
        run(driver, candidate, SHORT)
    assert processes_inside(A) == processes_inside(B) == []


def test_cancellation_is_quick_and_complete(driver: NetnsDriver) -> None:
    cancelled_at = 0.0

    def cancel() -> bool:
        nonlocal cancelled_at
        if not cancelled_at and processes_inside(A).count("iperf3") == 2:
            cancelled_at = time.monotonic()
        return cancelled_at > 0

    with pytest.raises(LabCancelled):
        run(driver, Candidate(), LONG, cancel)
    assert time.monotonic() - cancelled_at < 10
    wait_until(lambda: processes_inside(A) == processes_inside(B) == [], 2)


def test_killed_service_takes_the_measurement_with_it(driver: NetnsDriver, tmp_path: Path) -> None:
    script = (
        "from app.lab.netns import NetnsDriver\n"
        "from tuner.candidate import Candidate\n"
        "from tuner.samples import Workload\n"
        f"NetnsDriver({NAME!r}).run_trial(Candidate(), [Workload(duration_s=30)], lambda *_: None, lambda: False)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, env=environment) as service:
        wait_until(lambda: "iperf3" in processes_inside(A), 40)
        assert processes_mentioning(str(tmp_path))
        service.kill()
    wait_until(lambda: processes_inside(A) == processes_inside(B) == ["wirelane"], 20)
    wait_until(lambda: not processes_mentioning(str(tmp_path)), 20)
    driver.provision(lambda *_: None, lambda: False)
    assert processes_inside(A) == processes_inside(B) == []


def test_a_stranger_cannot_join_the_measurement(driver: NetnsDriver) -> None:
    knock = (
        "import socket, time\n"
        "end = time.monotonic() + 20\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        socket.create_connection(('198.18.0.2', 51700), 1).sendall(b'{\"token\": \"guess\"}\\n'); break\n"
        "    except OSError:\n"
        "        time.sleep(0.001)\n"
    )
    with subprocess.Popen(["ip", "netns", "exec", A, sys.executable, "-c", knock]) as stranger:
        run(driver, Candidate(), SHORT)
        stranger.kill()


def test_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="root") as caught:
        NetnsDriver("labuser").provision(lambda *_: None, lambda: False)
    assert "sudo" in caught.value.hint


@pytest.mark.parametrize("name", ["", "a;reboot", "$(id)", "UPPER", "a b", "../x", "-x", "x" * 16, "x\n"])
def test_names_that_are_no_testbed_names(name: str) -> None:
    with pytest.raises(LabError, match="not a testbed name"):
        NetnsDriver(name)


def test_missing_engine_says_what_to_do(driver: NetnsDriver) -> None:
    other = NetnsDriver(NAME, EnginePrograms(wireguard_go=("/nonexistent/wireguard-go",)))
    with pytest.raises(LabError, match="wireguard-go is not installed") as caught:
        run(other, Candidate(engine="wireguard-go", mode=None), SHORT)
    assert "apt-get install wireguard-go" in caught.value.hint
    assert driver.name == NAME
