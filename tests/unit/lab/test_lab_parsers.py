"""Parsers on the real output of real tools, and on what hostile or broken ones could write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lab.parsers.iperf3 import parse_client
from app.lab.parsers.proc import parse_net_dev, parse_process_ticks, parse_stat

DATA = Path(__file__).parents[2] / "data"


def data(name: str) -> str:
    return (DATA / name).read_text()


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_tcp(direction: str) -> None:
    text = data(f"iperf3-3.12-tcp-{direction}.json")
    report = parse_client(text)
    end = json.loads(text)["end"]
    assert report.protocol == "tcp"
    assert report.received_bytes == end["sum_received"]["bytes"]
    assert report.received_gbps == pytest.approx(end["sum_received"]["bits_per_second"] / 1e9, rel=1e-3)
    assert report.retransmits == end["sum_sent"]["retransmits"]
    assert report.sent_packets is None


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_udp_with_heavy_loss_counts_what_arrived(direction: str) -> None:
    report = parse_client(data(f"iperf3-3.12-udp-loss-{direction}.json"))
    assert report.sent_packets is not None
    assert report.received_packets is not None
    # 50 Mb/s were offered to a queue of 20 Mb/s.
    assert 0.55 < 1 - report.received_packets / report.sent_packets < 0.65
    assert report.received_gbps == pytest.approx(0.0194, rel=0.02)
    assert report.received_bytes == report.received_packets * 1392


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_udp_in_reach(direction: str) -> None:
    report = parse_client(data(f"iperf3-3.12-udp-{direction}.json"))
    assert report.received_gbps == pytest.approx(0.05, rel=0.05)


def test_refused_connection_is_named() -> None:
    with pytest.raises(ValueError, match="Connection refused"):
        parse_client(data("iperf3-3.12-refused.json"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "iperf3: error",
        "[]",
        "{}",
        '{"start": {"test_start": {"protocol": "TCP"}}, "end": {}}',
        "null",
        '{"end": 3}',
    ],
)
def test_what_is_no_report_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="iperf3"):
        parse_client(text)


@pytest.mark.parametrize("value", [-1, "many", None, 1e400])
def test_implausible_byte_count_is_a_value_error(value: object) -> None:
    report = json.loads(data("iperf3-3.12-tcp-forward.json"))
    report["end"]["sum_received"]["bytes"] = value
    with pytest.raises(ValueError, match="iperf3"):
        parse_client(json.dumps(report))


@given(st.text(max_size=200))
def test_any_text_is_a_value_error(text: str) -> None:
    for parse in (parse_client, parse_stat, parse_process_ticks):
        with pytest.raises(ValueError):
            parse(text)


def test_proc_stat() -> None:
    cpus = parse_stat(data("proc-stat-6.18.txt"))
    assert sorted(cpus) == [0, 1]
    for ticks in cpus.values():
        assert ticks.total > ticks.idle > 0


def test_proc_pid_stat() -> None:
    assert parse_process_ticks(data("proc-pid-stat-6.18.txt")) >= 0
    evil = "7 (a) R 1) R " + " ".join(str(number) for number in range(1, 50))
    assert parse_process_ticks(evil) == 11 + 12 - 2 + 2


def test_proc_net_dev() -> None:
    interfaces = parse_net_dev(data("proc-net-dev-6.18.txt"))
    assert set(interfaces) == {"lo", "v"}
    assert interfaces["v"].received_bytes > interfaces["v"].received_packets > 0
    with pytest.raises(ValueError, match="values"):
        parse_net_dev("a\nb\neth0: 1 2 3\n")
