"""The dashboard over a real testbed: two namespaces, real traffic, nothing simulated."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from conftest import OpenPage
from playwright.sync_api import Page, expect

PATIENCE_MS = 120_000


@pytest.mark.root
@pytest.mark.slow
def test_a_real_link_is_tuned_from_the_browser(open_page: OpenPage, client: httpx.Client) -> None:
    page = open_page("/testbeds")
    page.get_by_role("button", name="Add testbed").click()
    dialog = page.get_by_role("dialog", name="Add testbed")
    dialog.get_by_label("Name").fill("e2e-web")
    dialog.get_by_role("button", name="Add testbed").click()
    card = page.get_by_role("article", name="e2e-web")
    expect(card.get_by_text("ready")).to_be_visible(timeout=PATIENCE_MS)
    try:
        card.get_by_role("link", name="Tune").click()
        dialog = page.get_by_role("dialog", name="Tune a testbed")
        dialog.get_by_label("Trials").fill("1")
        dialog.get_by_label("Sample length").fill("0.5")
        dialog.get_by_text("Advanced options").click()
        rounds = {"Repeats": "1", "Finalists": "1", "Playoff rounds": "1", "Verdict rounds": "3", "Path rounds": "0"}
        for label, value in rounds.items():
            dialog.get_by_label(label).fill(value)
        for number, setting in enumerate(("gro", "rps_cpus"), start=1):
            dialog.get_by_role("button", name="Add host setting").click()
            row = dialog.get_by_role("group", name=f"Host setting {number}")
            row.get_by_label("Setting", exact=True).select_option(setting)
        dialog.get_by_role("group", name="Host setting 1").get_by_label("off").check()
        dialog.get_by_role("group", name="Host setting 1").get_by_label("or as it is").uncheck()
        row.get_by_label("CPU sets").fill("first")
        dialog.get_by_role("button", name="Start study").click()
        settings = dialog.get_by_role("group", name="Host settings")
        expect(settings).to_have_accessible_description(re.compile("rps_cpus cannot be 'first'"))
        row.get_by_label("CPU sets").fill("none 0")
        dialog.get_by_role("button", name="Start study").click()

        verdict = page.get_by_role("region", name="Verdict")
        expect(verdict).to_be_visible(timeout=PATIENCE_MS)
        expect(page.get_by_text("simulated", exact=True)).to_have_count(0)
        expect(page.get_by_role("button", name="Download bundle")).to_be_visible(timeout=PATIENCE_MS)
        page.get_by_role("button", name="Baseline", exact=True).click()
        sample = page.get_by_role("region", name="Sample tcp forward").first
        expect(sample).to_contain_text("Gbit/s")
        assert _searched(client) == {"gro": [False], "rps_cpus": ["as it is", "", "0"]}
        sample.get_by_text("Commands").click()
        expect(sample).to_contain_text("iperf3")
        page.keyboard.press("Escape")
        _measure_with_a_host_setting(page)
    finally:
        page.get_by_role("link", name="Testbeds").click()
        card.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(card).to_have_count(0, timeout=PATIENCE_MS)


def _measure_with_a_host_setting(page: Page) -> None:
    page.get_by_role("link", name="Measurements").click()
    page.get_by_role("button", name="Measure").click()
    dialog = page.get_by_role("dialog", name="Measure one candidate")
    dialog.get_by_label("Testbed").select_option("e2e-web")
    dialog.get_by_label("Sample length").fill("0.5")
    for number, setting in enumerate(("gro", "rps_cpus"), start=1):
        dialog.get_by_role("button", name="Add host setting").click()
        row = dialog.get_by_role("group", name=f"Host setting {number}")
        row.get_by_label("Setting", exact=True).select_option(setting)
    dialog.get_by_role("group", name="Host setting 1").get_by_label("Value").select_option("off")
    cpu_set = row.get_by_label("CPU set", exact=True)
    cpu_set.fill("first")
    dialog.get_by_role("button", name="Measure").click()
    expect(cpu_set).to_have_accessible_description(re.compile("'first' is not a CPU list"))
    cpu_set.fill("0")
    dialog.get_by_role("button", name="Measure").click()
    expect(page.get_by_role("region", name="Sample tcp forward")).to_contain_text("Gbit/s", timeout=PATIENCE_MS)
    expect(page.get_by_role("main")).to_contain_text(re.compile("gro off.*rps cpus 0", re.DOTALL))


def _searched(client: httpx.Client) -> Any:
    """The host settings of the study, of whose trials each has one of the values, as its candidate says."""
    study = client.get("/studies", params={"testbed": "e2e-web"}).json()["items"][0]["id"]
    result = client.get(f"/studies/{study}/result").json()
    hosts = [trial["candidate"]["host"] for trial in result["trials"] if trial["origin"] is not None]
    assert hosts
    assert all(host["gro"] is False and host["rps_cpus"] in (None, "", "0") for host in hosts)
    return result["spec"]["space"]["host"]
