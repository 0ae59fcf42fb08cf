"""`wiretune reproduce` and rate searches as people run them, on the simulated testbed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.contract.service_process import ServiceProcess
from tests.contract.test_cli import processes_of, run, wiretune


def test_reproduce_ends_with_its_figure_and_leaves_nothing(tmp_path: Path) -> None:
    data_dir, everything = tmp_path / "data", tmp_path / "grid.json"
    sizes = ["--sim-cores", "2", "--rounds", "3", "--seconds", "1"]
    outputs = ["--output", str(tmp_path), "--json", str(everything)]
    code, out, err = run("reproduce", "hpsr2025", "--testbed", "sim", *sizes, *outputs, data_dir=data_dir)
    assert code == 0, err
    assert "18x" in out
    assert "simulated: no packet was sent" in out
    assert (tmp_path / "hpsr2025.png").read_bytes().startswith(b"\x89PNG")
    figure = (tmp_path / "hpsr2025.svg").read_text()
    assert "<svg" in figure
    found = json.loads(everything.read_text())
    assert found["simulated"] is True
    assert all(cell["throughput_gbps"] > 0 for cell in found["cells"])
    ratios = {ratio["name"]: ratio for ratio in found["ratios"]}
    assert ratios["inline_over_several"]["low"] <= ratios["inline_over_several"]["ratio"]
    assert len(found["measurements"]) == 3
    assert processes_of(data_dir) == []


def test_interrupted_reproduce_cleans_up(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    process = wiretune("reproduce", "hpsr2025", "--testbed", "sim", "--output", str(tmp_path), data_dir=data_dir)
    assert process.stdout is not None
    for line in process.stdout:
        if "round 1" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert processes_of(data_dir) == []
    assert not (tmp_path / "hpsr2025.svg").exists()


def test_what_cannot_be_reproduced_is_said_at_once(tmp_path: Path) -> None:
    code, _, err = run("reproduce", "hpsr2025", "--engine", "openvpn", data_dir=tmp_path / "data")
    assert code == 2 and "openvpn" in err and "wireguard-go" in err


def test_rate_search_on_an_existing_testbed(service: ServiceProcess) -> None:
    data_dir = service.data_dir
    assert run("testbed", "create", "rates", "--driver", "sim", data_dir=data_dir)[0] == 0
    options = ["--tool", "pktgen", "--packet-bytes", "64", "--seconds", "1", "--rate-search", "pdr"]
    code, out, err = run("measure", "rates", *options, data_dir=data_dir)
    assert code == 0, err
    assert "RFC 9971 goal: loss ratio 0.005, final trials of 1 s" in out
    assert "PDR: " in out
    assert "(simulated)" in out
    code, out, err = run("reproduce", "hpsr2025", "--testbed", "nowhere", data_dir=data_dir)
    assert code == 2
    assert "there is no testbed nowhere" in err
    study = ["--objective", "ndr", "--trials", "1", "--seconds", "1", "--follow"]
    code, out, err = run("study", "create", "rates", *study, data_dir=data_dir)
    assert code == 0, err
    assert "NDR" in out
    assert run("testbed", "delete", "rates", data_dir=data_dir)[0] == 0


def test_a_calibration_is_what_the_planner_uses(tmp_path: Path) -> None:
    data_dir, curve = tmp_path / "data", tmp_path / "plan.svg"
    question = ["plan", "--target-gbps", "20", "--cores", "8"]
    assert "with default costs" in run(*question, data_dir=data_dir)[1]
    code, out, err = run("calibrate", "--testbed", "sim", "--rounds", "1", data_dir=data_dir)
    assert code == 0, err
    assert "held out: " in out
    assert "fitted to a simulation" in out
    assert processes_of(data_dir) == []
    code, out, err = run(*question, "--svg", str(curve), data_dir=data_dir)
    assert code == 0, err
    assert "20 Gbit/s would be reached by" in out
    assert "Modelled with the calibration of a simulation" in out
    assert "<svg" in curve.read_text()
    plan = json.loads(run(*question, "--json", data_dir=data_dir)[1])
    assert (plan["modelled"], plan["reached"]) == (True, True)
    assert plan["calibrated_on"]
    assert plan["chosen"]["candidate"]["engine"] == "wirelane"


def test_a_plan_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.json"
    rubbish.write_text('{"costs": {"io_ns_per_byte": -1}, "residuals": [], "cases": []}')
    for arguments, message in (
        (["--cores", "9", "--nodes", "2"], "9 cores do not divide evenly over 2 NUMA nodes"),
        (["--cores", "8", "--calibration", str(rubbish)], "is no calibration"),
        (["--cores", "8", "--calibration", str(tmp_path / "none")], "cannot read"),
    ):
        code, _, err = run("plan", "--target-gbps", "10", *arguments, data_dir=tmp_path / "data")
        assert code != 0
        assert message in err
        assert "Traceback" not in err
