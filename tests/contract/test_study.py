"""A study from its creation to its bundle, followed, cancelled and resumed, on the simulated testbed."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from itertools import pairwise

import httpx

from tests.contract.service_process import ServiceProcess, event_stream, finished, make_study, make_testbed, wait_for
from tuner.candidate import Candidate


def test_study_from_creation_to_bundle(client: httpx.Client) -> None:
    study_id = make_study(client, "sim", label="whole", explain_rounds=3)
    study = wait_for(client, f"/studies/{study_id}", finished)
    assert study["state"] == "completed", study["failure"]
    assert study["simulated"] is True
    assert study["progress"]["trials_done"] == 2
    assert study["progress"]["running"] is None
    assert study["verdict"]["rounds"] == 3

    result = client.get(f"/studies/{study_id}/result").json()
    assert result["gain"]["gain_low"] <= result["gain"]["gain"] <= result["gain"]["gain_high"]
    assert result["baseline"]["is_baseline"] is True
    assert result["baseline"]["candidate"] == study["verdict"]["baseline"]
    assert result["best"]["candidate"] == study["verdict"]["best"]
    assert [trial["number"] for trial in result["trials"] if trial["origin"] != "ablation"] == [None, 0, 1]
    assert sum(trial["is_baseline"] for trial in result["trials"]) == 1
    for trial in result["trials"]:
        assert trial["measured"]
        for block in trial["measured"]:
            assert all(sample["simulated"] for sample in block["samples"])
            assert block["samples"][0]["throughput_gbps"] > 0
            assert all(sample["fingerprints"] == study["fingerprints"] for sample in block["samples"])
    assert set(result["gateways"]) == {"a", "b"}
    hosts = client.get(f"/studies/{study_id}/hosts").json()["gateways"]
    assert hosts == result["gateways"]
    assert {name: host["fingerprint_hash"] for name, host in hosts.items()} == study["fingerprints"]

    listed = client.get(f"/studies/{study_id}/trials").json()
    assert listed["total"] == len(result["trials"])
    detail = client.get(f"/trials/{listed['items'][1]['id']}").json()
    assert detail["number"] == 0
    assert detail["measured"][0]["samples"]

    bundle = client.get(f"/studies/{study_id}/bundle").json()
    content = client.get(f"/studies/{study_id}/bundle/download").content
    assert hashlib.sha256(content).hexdigest() == bundle["sha256"]
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        assert any(name.endswith("SHA256SUMS") for name in archive.getnames())
        folder = archive.getnames()[0].split("/")[0]
        evidence = {
            name: json.load(archive.extractfile(f"{folder}/evidence/{name}.json") or io.BytesIO())
            for name in ("confirm", "reference", "commands")
        }
    assert sum(block["phase"] == "verdict" for block in evidence["confirm"]) == 2 * study["verdict"]["rounds"]
    assert evidence["reference"] == result["explanation"]["reference"]
    assert evidence["reference"]["raw_gbps"] > 0


def test_events_resume_after_the_last_one_seen(client: httpx.Client) -> None:
    study_id = make_study(client, "sim")
    wait_for(client, f"/studies/{study_id}", finished)
    path = f"/studies/{study_id}/events?until_finished=true"
    with event_stream(client, path) as stream:
        everything = list(stream)
    ids = [event["id"] for event in everything]
    assert all(before < after for before, after in pairwise(ids))
    states = [event["data"]["state"] for event in everything if event["type"] == "study.state"]
    assert states == ["queued", "provisioning", "baseline", "searching", "confirming", "bundling", "completed"]
    assert {"trial.started", "block.started", "block.phase", "block.finished", "study.verdict", "study.bundle"} <= {
        event["type"] for event in everything
    }
    middle = len(ids) // 2
    with event_stream(client, path, last_id=ids[middle]) as stream:
        assert [event["id"] for event in stream] == ids[middle + 1 :]
    with event_stream(client, "/events", last_id=ids[-2]) as stream:
        assert next(stream) == everything[-1]


def test_events_arrive_while_it_happens(client: httpx.Client) -> None:
    make_testbed(client, "live", sample_time_ratio=0.1)
    with event_stream(client, "/events") as stream:
        study_id = make_study(client, "live", sample_seconds=5)
        for event in stream:
            if event["type"] == "block.started" and event["study_id"] == study_id:
                break
        running = client.get(f"/studies/{study_id}").json()["progress"]["running"]
        assert running is not None
        assert running["words"] == event["data"]["words"]
    client.post(f"/studies/{study_id}/cancel")
    wait_for(client, f"/studies/{study_id}", finished)


def test_cancel_and_resume(client: httpx.Client) -> None:
    make_testbed(client, "slow", sample_time_ratio=0.1)
    study_id = make_study(client, "slow", trials=3, sample_seconds=10)
    path = f"/studies/{study_id}"
    wait_for(client, path, lambda study: study["progress"]["blocks_done"] >= 1)

    asked = time.monotonic()
    assert client.post(f"{path}/cancel").status_code == 202
    assert client.post(f"{path}/cancel").status_code == 409
    wait_for(client, path, finished)
    assert time.monotonic() - asked < 5
    assert client.post(f"{path}/cancel").status_code == 409
    cancelled = client.get(f"{path}/result").json()
    assert cancelled["state"] == "cancelled"
    assert cancelled["verdict"] is None

    assert client.post(f"{path}/resume").status_code == 202
    assert client.post(f"{path}/resume").status_code == 409
    study = wait_for(client, path, finished)
    assert study["state"] == "completed", study["failure"]
    before = {trial["id"]: trial["measured"] for trial in cancelled["trials"]}
    after = {trial["id"]: trial["measured"] for trial in client.get(f"{path}/result").json()["trials"]}
    for trial_id, blocks in before.items():
        assert after[trial_id][: len(blocks)] == blocks


def test_one_job_a_testbed(client: httpx.Client) -> None:
    make_testbed(client, "queue", sample_time_ratio=0.1)
    first = make_study(client, "queue", sample_seconds=10)
    second = make_study(client, "queue")
    wait_for(client, f"/studies/{first}", lambda study: study["progress"]["blocks_done"] >= 1)
    assert client.get(f"/studies/{second}").json()["state"] == "queued"
    assert client.delete("/testbeds/queue").status_code == 409
    assert client.post(f"/studies/{second}/cancel").json()["state"] == "cancelled"
    client.post(f"/studies/{first}/cancel")
    wait_for(client, f"/studies/{first}", finished)
    assert client.get(f"/studies/{second}").json()["started_at"] is None
    assert client.delete("/testbeds/queue").status_code == 202
    wait_for(client, "/testbeds/queue", lambda answer: answer.get("status") == 404)
    assert client.get(f"/studies/{first}").json()["testbed"] == "queue"


def test_studies_of_a_testbed_run_in_the_order_in_which_they_were_made(client: httpx.Client) -> None:
    make_testbed(client, "order")
    made = [make_study(client, "order", trials=1, sample_seconds=1) for _ in range(4)]
    studies = [wait_for(client, f"/studies/{study_id}", finished) for study_id in made]
    assert [study["state"] for study in studies] == ["completed"] * len(made)
    assert sorted(studies, key=lambda study: study["started_at"]) == studies


def test_broken_candidates_are_infeasible_not_scored(client: httpx.Client) -> None:
    make_testbed(client, "broken", broken_candidate_ratio=0.5)
    # Half of all candidates cannot run, by their key; the baseline must be one of the other half.
    sound = next(lanes for lanes in range(1, 65) if int(Candidate(lanes=lanes).key, 16) > 16**16 / 2)
    study_id = make_study(client, "broken", trials=8, space={"baseline": {"lanes": sound}})
    wait_for(client, f"/studies/{study_id}", finished)
    trials = client.get(f"/studies/{study_id}/trials").json()["items"]
    states = [trial["state"] for trial in trials if not trial["is_baseline"]]
    assert "infeasible" in states
    for trial in trials:
        if trial["state"] == "infeasible":
            assert trial["metrics"] is None
            assert "cannot run" in trial["detail"]


def test_trials_tell_their_race_and_what_violates_a_limit(client: httpx.Client) -> None:
    limit = {"metric": "throughput_gbps", "at_most": 1.0, "of_baseline": True}
    study_id = make_study(client, "sim", trials=6, repeats=4, constraints=[limit])
    study = wait_for(client, f"/studies/{study_id}", finished)
    trials = client.get(f"/studies/{study_id}/trials").json()["items"]
    beyond = [trial for trial in trials if any(check["violation"] > 0 for check in trial["constraints"])]
    assert any(trial["number"] is not None for trial in beyond), "some candidate is faster than the baseline"
    for trial in trials:
        standing = trial["standing"]
        if trial["is_baseline"]:
            assert standing is None
            continue
        assert standing["race"] == "infeasible" if trial in beyond else standing["race"] in ("finished", "stopped")
        assert standing["gain_low"] < standing["gain"] < standing["gain_high"]
        assert standing["blocks"] == sum(point["phase"] == "search" for point in trial["points"])
        assert trial["constraints"][0]["value"] == trial["metrics"]["throughput_gbps"]
        assert client.get(f"/trials/{trial['id']}").json()["standing"] == standing
    if study["verdict"]:
        assert study["verdict"]["best_trial_number"] not in {trial["number"] for trial in beyond}
    overhead = client.get(f"/studies/{study_id}/result").json()["overhead"]
    assert overhead == study["progress"]["overhead"]
    assert overhead["blocks"] == study["progress"]["blocks_done"]


def test_failing_lab_ends_the_study_with_its_reason(client: httpx.Client) -> None:
    make_testbed(client, "failing", lab_failure_ratio=1.0)
    study_id = make_study(client, "failing")
    study = wait_for(client, f"/studies/{study_id}", finished)
    assert study["state"] == "failed"
    assert "a simulated fault of the lab" in study["failure"]["message"]
    trials = client.get(f"/studies/{study_id}/result").json()["trials"]
    assert [block["state"] for block in trials[0]["measured"]] == ["failed"] * len(trials[0]["measured"])
    assert trials[0]["metrics"] is None


def test_lab_faults_are_retried_and_never_scored(client: httpx.Client) -> None:
    make_testbed(client, "flaky", lab_failure_ratio=0.1, seed=3)
    study_id = make_study(client, "flaky", trials=4)
    study = wait_for(client, f"/studies/{study_id}", finished)
    assert study["state"] == "completed", study["failure"]
    blocks = [
        block for trial in client.get(f"/studies/{study_id}/result").json()["trials"] for block in trial["measured"]
    ]
    failed = [block for block in blocks if block["state"] == "failed"]
    assert failed
    for block in failed:
        assert block["samples"] == []
        repeats = [one["attempt"] for one in blocks if (one["phase"], one["index"]) == (block["phase"], block["index"])]
        assert max(repeats) > 1


def test_measurement(client: httpx.Client) -> None:
    workloads = [{"direction": "forward", "duration_s": 1}, {"direction": "both", "duration_s": 1}]
    body = {"testbed": "sim", "candidate": {"lanes": 2}, "workloads": workloads}
    response = client.post("/measurements", json=body)
    assert response.status_code == 202
    path = f"/measurements/{response.json()['id']}"
    assert response.headers["Location"] == f"/api/v1{path}"
    measurement = wait_for(client, path, lambda one: one["state"] == "completed")
    assert [sample["workload"]["direction"] for sample in measurement["samples"]] == ["forward", "both"]
    assert client.post(f"{path}/cancel").status_code == 409


def test_measurement_cancelled_while_it_runs(client: httpx.Client) -> None:
    make_testbed(client, "long", sample_time_ratio=1)
    body = {"testbed": "long", "workloads": [{"duration_s": 60}]}
    path = f"/measurements/{client.post('/measurements', json=body).json()['id']}"
    wait_for(client, path, lambda one: one["state"] == "running" and one["lab_phase"])
    asked = time.monotonic()
    assert client.post(f"{path}/cancel").json()["state"] == "cancelling"
    wait_for(client, path, lambda one: one["state"] == "cancelled")
    assert time.monotonic() - asked < 5


def test_bundle_is_rebuilt_when_its_file_is_gone(client: httpx.Client, service: ServiceProcess) -> None:
    study_id = make_study(client, "sim")
    study = wait_for(client, f"/studies/{study_id}", finished)
    path = service.data_dir / "bundles" / study["bundle"]["filename"]
    path.unlink()
    assert client.get(f"/studies/{study_id}/bundle/download").status_code == 404
    assert client.post(f"/studies/{study_id}/bundle").status_code == 202
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    content = client.get(f"/studies/{study_id}/bundle/download").content
    assert hashlib.sha256(content).hexdigest() == study["bundle"]["sha256"]


def test_a_study_begins_with_the_winner_of_an_earlier_one_on_the_same_hosts(client: httpx.Client) -> None:
    make_testbed(client, "again", noise_ratio=0.005)
    first = make_study(client, "again", trials=4)
    earlier = wait_for(client, f"/studies/{first}", finished)
    assert earlier["verdict"]["conclusion"] == "better"

    second = make_study(client, "again", trials=1)
    study = wait_for(client, f"/studies/{second}", finished)
    match = next(one for one in study["warm_start"]["studies"] if one["study"] == first)
    assert match["match"] == 1.0
    assert match["used"] is True
    winner = earlier["verdict"]["best"]
    assert winner in match["candidates"]
    (trial,) = [t for t in client.get(f"/studies/{second}/result").json()["trials"] if t["number"] == 0]
    assert trial["origin"] == "warm_start"
    assert trial["candidate"] == study["warm_start"]["studies"][0]["candidates"][0]

    goal = make_study(client, "again", trials=1, objective="efficiency")
    other = wait_for(client, f"/studies/{goal}", finished)
    refused = next(one for one in other["warm_start"]["studies"] if one["study"] == first)
    assert refused["used"] is False
    assert "another goal" in refused["reason"]

    alone = make_study(client, "again", trials=1, warm_start=False)
    assert wait_for(client, f"/studies/{alone}", finished)["warm_start"]["studies"] == []


def test_drift_and_outliers_of_a_simulation_are_settable(client: httpx.Client) -> None:
    make_testbed(client, "rough", noise_ratio=0.0, drift_per_hour=-0.5, outlier_ratio=1.0)
    make_testbed(client, "calm", noise_ratio=0.0)
    rates = {}
    for name in ("rough", "calm"):
        study = make_study(client, name, trials=1, explain_rounds=0)
        wait_for(client, f"/studies/{study}", finished)
        baseline = client.get(f"/studies/{study}/result").json()["baseline"]
        assert all(sample["simulated"] for block in baseline["measured"] for sample in block["samples"])
        rates[name] = [block["samples"][0]["throughput_gbps"] for block in baseline["measured"]]
    assert len(set(rates["calm"])) == 1
    assert rates["rough"] == sorted(rates["rough"], reverse=True), "it drifts downwards"
    assert rates["rough"][0] < 0.7 * rates["calm"][0], "every sample is disturbed"
