"""A study from the form to the bundle, watched in the browser."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from pathlib import Path

import httpx
from conftest import OpenPage
from playwright.sync_api import BrowserContext, Locator, Page, expect
from relay import Relay
from service_process import ServiceProcess, finished, wait_for

PATIENCE_MS = 90_000


def test_a_study_is_started_watched_and_its_bundle_downloaded(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page("/studies?tune=slow")
    dialog = page.get_by_role("dialog", name="Tune a testbed")
    expect(dialog.get_by_label("Testbed", exact=True)).to_have_value("slow")
    dialog.get_by_label("Trials").fill("3")
    dialog.get_by_label("Label").fill("Watched")
    dialog.get_by_text("Advanced options").click()
    for label, value in (
        ("Repeats", "1"),
        ("Finalists", "1"),
        ("Playoff rounds", "1"),
        ("Verdict rounds", "3"),
        ("Path rounds", "0"),
    ):
        dialog.get_by_label(label).fill(value)
    dialog.get_by_label("Lanes").fill("1, 2")
    dialog.get_by_role("button", name="Add limit").click()
    dialog.get_by_role("group", name="Limit 1").get_by_label("Value").fill("2000")
    dialog.get_by_role("button", name="Start study").click()

    expect(page.get_by_role("heading", level=1, name="Watched")).to_be_visible()
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    now = page.get_by_role("region", name="Now")
    expect(now).to_contain_text("of the search")
    expect(page.get_by_role("button", name="Trial 1", exact=True)).to_be_visible()

    verdict = page.get_by_role("region", name="Verdict")
    expect(verdict).to_be_visible(timeout=PATIENCE_MS)
    expect(verdict).to_contain_text("95% interval")
    expect(verdict.get_by_text("simulated", exact=True)).to_be_visible()
    expect(verdict.get_by_role("list", name="Limits")).to_contain_text("kept")
    expect(page.get_by_role("region", name="Table of trials")).to_contain_text("leads the search")
    expect(now).to_have_count(0)
    _check_bundle(_download(page, "Download bundle", tmp_path))
    result = json.loads(_download(page, "result.json", tmp_path).read_text())
    assert result["state"] == "completed"
    assert result["spec"]["constraints"] == [
        {"metric": "data_plane_cpus", "at_most": 20, "at_least": None, "of_baseline": True}
    ]
    assert result["verdict"]["words"] in verdict.inner_text()
    assert {trial["candidate"]["lanes"] for trial in result["trials"]} <= {1, 2}


def test_errors_of_the_form_stand_at_their_field(open_page: OpenPage) -> None:
    page = open_page("/studies?tune=fast")
    dialog = page.get_by_role("dialog", name="Tune a testbed")
    dialog.get_by_label("Trials").fill("0")
    dialog.get_by_label("Sample length").fill("-1")
    dialog.get_by_text("Advanced options").click()
    expect(dialog.get_by_role("group", name="Host settings")).to_contain_text("none that a study could search")
    dialog.get_by_label("Lanes").fill("0")
    dialog.get_by_role("button", name="Start study").click()
    for label in ("Trials", "Sample length", "Lanes"):
        expect(dialog.get_by_label(label)).to_have_attribute("aria-invalid", "true")
    expect(dialog.get_by_label("Verdict rounds")).not_to_have_attribute("aria-invalid", "true")


def test_the_table_filters_sorts_and_opens_a_trial(
    open_page: OpenPage, completed_study: str, client: httpx.Client
) -> None:
    listed = client.get(f"/studies/{completed_study}/trials").json()["items"]
    trials = [trial for trial in listed if trial["origin"] != "ablation"]  # those stand in the path
    page = open_page(f"/studies/{completed_study}")
    rows = page.get_by_role("region", name="Table of trials").locator("tbody tr")
    expect(rows).to_have_count(len(trials))

    page.get_by_role("button", name="Throughput", exact=True).click()
    page.get_by_role("button", name="Throughput", exact=True).click()
    directions = page.get_by_role("columnheader", name="Throughput").get_attribute("aria-sort")
    throughputs = [float(text.split()[0]) for text in rows.locator("td:nth-child(3)").all_inner_texts() if text != "—"]
    assert throughputs == sorted(throughputs, reverse=directions == "descending")
    assert len(throughputs) == sum(trial["metrics"] is not None for trial in trials)

    engine = trials[-1]["candidate"]["engine"]
    page.get_by_role("search").get_by_label("Engine").select_option(engine)
    expect(rows).to_have_count(sum(trial["candidate"]["engine"] == engine for trial in trials))
    page.get_by_role("search").get_by_label("Filter").fill("no such candidate")
    expect(page.get_by_text("No trial matches the filters.")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(len(trials))

    page.get_by_role("button", name="Baseline", exact=True).click()
    drawer = page.get_by_role("dialog", name="Baseline")
    expect(drawer.get_by_role("region", name="Sample tcp forward").first).to_contain_text("CPU 0")
    expect(drawer).to_contain_text("Lane shares")
    expect(drawer).to_contain_text(trials[0]["words"])
    assert f"trial={trials[0]['id']}" in page.url


def test_why_it_wins_is_shown_as_the_api_tells_it(
    open_page: OpenPage, completed_study: str, client: httpx.Client
) -> None:
    explanation = client.get(f"/studies/{completed_study}/explanation").json()
    ablation = explanation["ablation"]
    assert ablation["state"] == "complete"
    assert len(ablation["steps"]) > 1
    page = open_page(f"/studies/{completed_study}")
    panel = page.get_by_role("region", name="Why it wins", exact=True)
    expect(panel).to_contain_text(ablation["words"])
    steps = panel.get_by_role("region", name="Steps of the path").locator("tbody tr")
    expect(steps).to_have_count(len(ablation["steps"]))
    for row, step in zip(steps.all(), ablation["steps"], strict=True):
        for change in step["changes"]:
            expect(row).to_contain_text(change["after"])
        expect(row).to_contain_text(f"{abs(step['gain']['gain'] - 1) * 100:.1f} %")
    for name in ("bottleneck_baseline", "bottleneck_best"):
        expect(panel).to_contain_text(explanation[name]["words"])
        assert explanation[name]["raw_share"] is not None
    expect(panel).to_contain_text("For comparison: the link without a tunnel carries 100.0 Gbit/s")
    expect(panel).to_contain_text(explanation["importance"]["words"])
    for chart in panel.get_by_role("img").all():
        chart.scroll_into_view_if_needed()
        assert _colours(chart) > 3
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_charts_are_drawn_and_have_a_table(open_page: OpenPage, completed_study: str) -> None:
    page = open_page(f"/studies/{completed_study}")
    for title in ("Verdict", "Trials", "Throughput against efficiency", "What makes it fast"):
        panel = page.get_by_role("region", name=title, exact=True).first
        chart = panel.get_by_role("img").first
        chart.scroll_into_view_if_needed()
        assert _colours(chart) > 3, f"nothing is drawn in {title}"
        panel.get_by_text("Show as table").first.click()
        expect(panel.get_by_role("table").first).to_be_visible()
        assert panel.get_by_role("row").count() > 1


def test_a_study_is_cancelled_and_resumed(open_page: OpenPage, client: httpx.Client) -> None:
    study_id = client.post("/studies", json={"testbed": "slow", "label": "Long", "trials": 200}).json()["id"]
    page = open_page(f"/studies/{study_id}")
    expect(page.get_by_role("button", name="Trial 1", exact=True)).to_be_visible()

    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    blocks = wait_for(client, f"/studies/{study_id}", finished)["progress"]["blocks_done"]
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    wait_for(client, f"/studies/{study_id}", lambda study: study["progress"]["blocks_done"] > blocks)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_lost_connection_is_taken_up_again(
    service: ServiceProcess, context: BrowserContext, client: httpx.Client
) -> None:
    study_id = client.post("/studies", json={"testbed": "slow", "label": "Lost", "trials": 200}).json()["id"]
    relay = Relay(int(service.base_url.rsplit(":", 1)[1]))
    page = context.new_page()
    resumed_after: list[str | None] = []
    page.on(
        "request",
        lambda request: (
            resumed_after.append(request.headers.get("last-event-id")) if "/events" in request.url else None
        ),
    )
    page.goto(f"http://127.0.0.1:{relay.port}/studies/{study_id}#token={service.token}")
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Trial 1", exact=True)).to_be_visible()

    relay.break_connections()
    expect(page.get_by_text("reconnecting…")).to_be_visible()
    blocks = client.get(f"/studies/{study_id}").json()["progress"]["blocks_done"]
    wait_for(client, f"/studies/{study_id}", lambda study: study["progress"]["blocks_done"] > blocks + 1)
    relay.mend()
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(rf"^{blocks}\D.* blocks$"))).to_have_count(0)
    assert resumed_after[0] is None
    assert resumed_after[-1] is not None
    assert int(resumed_after[-1]) > 0

    client.post(f"/studies/{study_id}/cancel")
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    relay.close()


def test_what_does_not_exist_is_said(open_page: OpenPage) -> None:
    page = open_page("/studies/000000000000")
    expect(page.get_by_role("alert")).to_contain_text("There is no study 000000000000")
    page = open_page("/nowhere")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")


def test_one_candidate_is_measured(open_page: OpenPage) -> None:
    page = open_page("/measurements")
    page.get_by_role("button", name="Measure").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Testbed").select_option("fast")
    dialog.get_by_label("CPUs of tx, gateway a").fill("not a list")
    dialog.get_by_role("button", name="Measure").click()
    expect(dialog.get_by_label("CPUs of tx, gateway a")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("CPUs of tx, gateway a").fill("0-1")
    dialog.get_by_label("Lanes", exact=True).fill("2")
    dialog.get_by_role("button", name="Measure").click()
    sample = page.get_by_role("region", name="Sample tcp forward")
    expect(sample).to_contain_text("Gbit/s")
    expect(sample.get_by_text("lane 1")).to_be_visible()


def _download(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.get_by_role("button", name=button).click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def _check_bundle(bundle: Path) -> None:
    with tarfile.open(bundle, "r:gz") as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        contents = {name: file.read() for name, file in files.items() if file is not None}
    sums = next(name for name in contents if name.endswith("SHA256SUMS"))
    root = sums.removesuffix("SHA256SUMS")
    listed = [line.split(maxsplit=1) for line in contents[sums].decode().splitlines()]
    assert listed
    for digest, name in listed:
        assert hashlib.sha256(contents[root + name.lstrip("*")]).hexdigest() == digest, name


def _colours(chart: Locator) -> int:
    """Distinct colours on the chart's canvas."""
    return int(
        chart.locator("canvas").first.evaluate(
            """canvas => {
                const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                const colours = new Set();
                for (let at = 0; at < data.length; at += 4) {
                    if (data[at + 3] === 255) colours.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2]);
                }
                return colours.size;
            }"""
        )
    )
