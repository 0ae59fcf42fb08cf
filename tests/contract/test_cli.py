"""`wiretune` as people run it: a child process on the simulated testbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from app.lock import running_service
from tests.contract.service_process import ROOT, ServiceProcess

BUDGET = ["--trials=2", "--seconds=2", "--repeats=1", "--playoff-rounds=1", "--verdict-rounds=3", "--seed=7"]
BUDGET += ["--explain-rounds=0"]


def wiretune(*arguments: str, data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "WIRETUNE_DATA_DIR": str(data_dir), "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str, data_dir: Path) -> tuple[int, str, str]:
    process = wiretune(*arguments, data_dir=data_dir)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def processes_of(data_dir: Path) -> list[str]:
    """Command lines of processes that have this data folder in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if f"WIRETUNE_DATA_DIR={data_dir}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_tune_from_start_to_end(tmp_path: Path) -> None:
    data_dir, result, bundle = tmp_path / "data", tmp_path / "result.json", tmp_path / "out.tar.gz"
    outputs = ["--json", str(result), "--bundle", str(bundle)]
    code, out, err = run("tune", "--testbed", "sim", *BUDGET, *outputs, data_dir=data_dir)
    assert code == 0, err
    found = json.loads(result.read_text())
    assert found["state"] == "completed"
    assert found["simulated"] is True
    assert found["gain"]["gain_low"] <= found["gain"]["gain"] <= found["gain"]["gain_high"]
    assert [trial["number"] for trial in found["trials"]] == [None, 0, 1]
    for words in ("baseline is ", "trial 0 is ", "verdict 3", "left", "95% interval", "simulated", str(bundle)):
        assert words in out
    with tarfile.open(bundle) as archive:
        assert archive.getnames()
    assert processes_of(data_dir) == []
    assert running_service(data_dir / "service.lock") is None


@pytest.mark.parametrize("after", ["Starting", "baseline 1"])
def test_interrupt_cleans_up(tmp_path: Path, after: str) -> None:
    data_dir = tmp_path / "data"
    arguments = ["--testbed", "sim", "--sim-time", "0.1", "--seconds", "20", "--json", str(tmp_path / "result.json")]
    process = wiretune("tune", *arguments, data_dir=data_dir)
    assert process.stdout is not None
    for line in process.stdout:
        if after in line:
            break
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "Interrupted." in err
    assert "Traceback" not in err
    assert processes_of(data_dir) == []
    assert not (tmp_path / "result.json").exists()


def test_killed_tune_takes_its_service_with_it_and_cleanup_removes_the_rest(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    process = wiretune("tune", "--testbed", "sim", "--sim-time", "0.1", "--seconds", "20", data_dir=data_dir)
    assert process.stdout is not None
    for line in process.stdout:
        if "baseline 1" in line:
            break
    process.kill()
    process.communicate(timeout=10)
    deadline = time.monotonic() + 60
    while processes_of(data_dir):
        assert time.monotonic() < deadline, processes_of(data_dir)
        time.sleep(0.2)
    code, out, err = run("cleanup", data_dir=data_dir)
    assert code == 0, err
    assert "Removed 1 abandoned testbed." in out
    assert processes_of(data_dir) == []


def test_wrong_usage_is_one_clear_line(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none" / "result.json")
    for arguments in (["--seconds", "-1"], ["--trials", "0"], ["--json", nowhere], ["--engine", "openvpn"]):
        code, _, err = run("tune", "--testbed", "sim", *arguments, data_dir=tmp_path / "data")
        assert code == 2, err
        assert "Traceback" not in err
        assert arguments[1] in err or arguments[0] in err
    assert not (tmp_path / "data").exists()


def test_commands_say_that_no_service_runs(tmp_path: Path) -> None:
    code, _, err = run("study", "list", data_dir=tmp_path)
    assert code == 4
    assert "no service runs" in err
    assert "wiretune serve" in err


def test_help_teaches_by_example(tmp_path: Path) -> None:
    for command in (
        "tune",
        "serve",
        "doctor",
        "measure",
        "reproduce",
        "cleanup",
        "testbed create",
        "study show",
        "token create",
    ):
        code, out, err = run(*command.split(), "--help", data_dir=tmp_path)
        assert code == 0, err
        assert f"wiretune {command}" in out


def test_the_doctor_looks_at_the_service(service: ServiceProcess, tmp_path: Path) -> None:
    _, out, _ = run("doctor", data_dir=tmp_path)
    assert "Service" not in out, "there is none for this data folder"
    _, out, err = run("doctor", "--json", data_dir=service.data_dir)
    found = next(item for item in json.loads(out)["items"] if item["name"] == "service")
    assert found["state"] == "ok", err
    assert service.base_url in found["detail"] and "a worker takes jobs" in found["detail"]


def test_hosts_belong_to_driver_ssh_and_to_no_other(tmp_path: Path) -> None:
    code, _, err = run("testbed", "create", "site", "--driver", "ssh", data_dir=tmp_path)
    assert code == 2 and "--hosts" in err
    (tmp_path / "hosts.json").write_text("{}")
    code, _, err = run("testbed", "create", "site", "--hosts", str(tmp_path / "hosts.json"), data_dir=tmp_path)
    assert code == 2 and "driver ssh" in err


def test_a_distribution_belongs_to_driver_vm_and_to_no_other(tmp_path: Path) -> None:
    code, _, err = run("testbed", "create", "lab", "--distribution", "debian-13", data_dir=tmp_path)
    assert code == 2 and "--distribution is for driver vm, not netns" in err
    code, _, err = run("testbed", "create", "lab", "--driver=vm", "--distribution=beos", data_dir=tmp_path)
    assert code == 2 and "debian-13" in err


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    code, _, err = run("testbed", "create", "site", "--driver", "ssh", "--hosts", "/dev/zero", data_dir=tmp_path)
    assert code == 2 and "larger than" in err
    code, _, err = run("plan", "--target-gbps=9", "--cores=4", "--calibration=/dev/zero", data_dir=tmp_path)
    assert code == 2 and "larger than" in err


def test_commands_against_a_running_service(service: ServiceProcess, tmp_path: Path) -> None:
    data_dir = service.data_dir
    assert run("testbed", "create", "byhand", "--driver", "sim", data_dir=data_dir)[0] == 0
    code, out, err = run("study", "create", "byhand", "--trials", "1", "--follow", data_dir=data_dir)
    assert code == 0, err
    study_id = out.splitlines()[0]
    assert "completed" in out
    result = tmp_path / "result.json"
    assert "95% interval" in run("study", "show", study_id, "--result", str(result), data_dir=data_dir)[1]
    assert json.loads(result.read_text())["study"] == study_id
    code, _, err = run("study", "cancel", study_id, data_dir=data_dir)
    assert (code, err.splitlines()[0]) == (
        1,
        f"Error: Study {study_id} is completed; only a waiting or running study can be cancelled.",
    )
    code, out, err = run("measure", "byhand", "--candidate", '{"lanes": 2}', data_dir=data_dir)
    assert "Gbit/s" in out, err
    assert run("testbed", "delete", "byhand", data_dir=data_dir)[0] == 0
    assert "byhand" not in run("testbed", "list", data_dir=data_dir)[1]
