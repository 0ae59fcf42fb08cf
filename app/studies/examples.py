"""Examples of the OpenAPI document: what a netns study found on two cores, shortened."""

from __future__ import annotations

from typing import Any

EXPLANATION: dict[str, Any] = {
    "importance": {
        "tunables": [
            {
                "name": "lanes",
                "label": "Lanes",
                "share": 0.61,
                "share_low": 0.12,
                "share_high": 0.83,
                "p_value": 0.021,
                "certainty": "clear",
                "trials": 12,
                "best_value": 2,
            }
        ],
        "trials": 12,
        "words": "Lanes matters most: 61% of the differences between 12 trials go with it.",
    },
    "ablation": {
        "state": "complete",
        "steps": [
            {
                "changes": [
                    {"name": "mode", "label": "mode", "before": "pipelined", "after": "inline"},
                    {"name": "crypto_workers", "label": "crypto workers", "before": "2", "after": "none"},
                ],
                "candidate": {"engine": "wirelane", "mode": "inline", "lanes": 1},
                "words": "mode inline instead of pipelined",
                "gain": {"gain": 1.04, "gain_low": 0.97, "gain_high": 1.12, "p_value": 0.19, "pairs": 4},
                "total": {"gain": 1.04, "gain_low": 0.97, "gain_high": 1.12, "p_value": 0.19, "pairs": 4},
                "detail": None,
            },
            {
                "changes": [{"name": "lanes", "label": "lanes", "before": "1", "after": "2"}],
                "candidate": {"engine": "wirelane", "mode": "inline", "lanes": 2},
                "words": "lanes 2 instead of 1",
                "gain": {"gain": 1.46, "gain_low": 1.31, "gain_high": 1.63, "p_value": 0.001, "pairs": 4},
                "total": {"gain": 1.52, "gain_low": 1.39, "gain_high": 1.66, "p_value": 0.001, "pairs": 4},
                "detail": None,
            },
        ],
        "rounds": 4,
        "words": "Lanes 2 instead of 1: +46.0%. No significant difference: mode inline instead of pipelined.",
    },
    "bottleneck_baseline": None,
    "bottleneck_best": {
        "workload": "tcp forward",
        "kind": "all_cpus",
        "words": "All CPUs of the machine that both gateways share (2 CPUs, 100% busy) are the limit.",
        "gateway": None,
        "stage": "tx",
        "cpu": None,
        "throughput_gbps": 5.76,
        "cpu_busy_ratio": {"a": {"0": 1.0, "1": 1.0}, "b": {"0": 1.0, "1": 1.0}},
        "stages": [
            {"gateway": "a", "stage": "tx", "threads": 2, "busy_cpus": 0.73, "busiest_thread_ratio": 0.4},
            {"gateway": "b", "stage": "rx", "threads": 2, "busy_cpus": 0.52, "busiest_thread_ratio": 0.29},
        ],
        "data_plane_cpus": {"a": 0.98, "b": 0.74},
        "drops": {"receive_buffer_full": 240},
        "raw_share": 0.38,
        "aead_share": 0.26,
    },
    "reference": {
        "raw_gbps": 15.3,
        "aead_gbps": {"a": 25.8, "b": 25.4},
        "aead_backend": {"a": "ifma", "b": "ifma"},
        "packet_bytes": 1420,
        "argv": [["iperf3", "-c", "198.18.0.2", "-B", "198.18.0.1", "-t", "1", "-J"]],
        "tool_version": "iperf 3.12 (cJSON 1.7.15)",
        "detail": None,
        "simulated": False,
    },
}
