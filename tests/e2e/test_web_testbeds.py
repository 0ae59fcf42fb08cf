"""Testbeds: errors at their field, creation, deletion with a question; the machine's capabilities."""

from __future__ import annotations

import re

import httpx
from conftest import OpenPage
from playwright.sync_api import expect


def test_an_error_stands_at_its_field(open_page: OpenPage) -> None:
    page = open_page("/testbeds")
    page.get_by_role("button", name="Add testbed").click()
    dialog = page.get_by_role("dialog", name="Add testbed")
    dialog.get_by_label("Name").fill("no; rm -rf")
    dialog.get_by_label("Driver").select_option("sim")
    dialog.get_by_label("Sockets").fill("none")
    dialog.get_by_label("Noise").fill("7")
    dialog.get_by_role("button", name="Add testbed").click()

    expect(dialog.get_by_role("alert")).to_be_visible()
    for label, message in (
        ("Name", "should match pattern"),
        ("Sockets", "valid integer"),
        ("Noise", "less than or equal"),
    ):
        field = dialog.get_by_label(label, exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile(re.escape(message)))
    expect(dialog.get_by_label("Seed")).not_to_have_attribute("aria-invalid", "true")

    dialog.get_by_label("Driver").select_option("vm")
    expect(dialog.get_by_label("Distribution").get_by_role("option")).to_have_count(4)
    dialog.get_by_label("Driver").select_option("ssh")
    gateway = dialog.get_by_role("group", name="Gateway b")
    gateway.get_by_label("Management address").fill("gw2.example.net; reboot")
    gateway.get_by_label("Become root with sudo").check()
    gateway.get_by_label("Sudo password's place").fill("hunter2")
    dialog.get_by_role("button", name="Add testbed").click()
    for label in ("Management address", "Data address", "Sudo password's place"):
        expect(gateway.get_by_label(label)).to_have_attribute("aria-invalid", "true")


def test_a_simulated_testbed_comes_and_goes(open_page: OpenPage, client: httpx.Client) -> None:
    page = open_page("/testbeds")
    page.get_by_role("button", name="Add testbed").click()
    dialog = page.get_by_role("dialog", name="Add testbed")
    dialog.get_by_label("Name").fill("visitor")
    dialog.get_by_label("Driver").select_option("sim")
    dialog.get_by_label("Cores per socket").fill("6")
    dialog.get_by_role("button", name="Add testbed").click()
    expect(dialog).to_have_count(0)

    card = page.get_by_role("article", name="visitor")
    expect(card.get_by_text("ready")).to_be_visible()
    expect(card.get_by_text("simulated", exact=True).first).to_be_visible()
    expect(card.get_by_role("region", name="Gateway a")).to_contain_text("6 CPUs on 6 cores, 1 socket, 1 NUMA node")

    card.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep it").click()
    expect(card).to_be_visible()
    card.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
    assert client.get("/testbeds/visitor").status_code == 404


def test_one_whose_hosts_are_gone_is_forgotten_and_says_what_may_be_left(
    open_page: OpenPage, client: httpx.Client
) -> None:
    # Outside of docker-compose.yml it fails at once.
    assert client.post("/testbeds", json={"name": "nowhere", "driver": "compose"}).status_code == 202
    card = open_page("/testbeds").get_by_role("article", name="nowhere")
    expect(card.get_by_text("failed", exact=True)).to_be_visible()
    card.get_by_role("button", name="Delete").click()
    dialog = card.page.get_by_role("dialog")
    dialog.get_by_label("gone for good").check()
    expect(dialog.get_by_role("listitem")).to_contain_text(
        [re.compile(f"container gateway-{gateway}.*/run/wiretune/nowhere-{gateway}") for gateway in "ab"]
    )
    dialog.get_by_role("button", name="Forget").click()
    expect(card).to_have_count(0)


def test_a_testbed_in_use_says_why_it_stays(open_page: OpenPage, client: httpx.Client) -> None:
    response = client.post("/studies", json={"testbed": "slow", "trials": 50})
    study_id = response.json()["id"]
    page = open_page("/testbeds")
    card = page.get_by_role("article", name="slow")
    card.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_contain_text("slow")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(card).to_be_visible()
    assert client.post(f"/studies/{study_id}/cancel").status_code == 202


def test_capabilities_show_what_the_doctor_says(open_page: OpenPage, client: httpx.Client) -> None:
    items = client.get("/capabilities").json()["items"]
    page = open_page("/capabilities")
    rows = page.get_by_role("region", name="Capabilities").get_by_role("row")
    expect(rows).to_have_count(len(items) + 1)
    for row, item in zip(rows.all()[1:], items, strict=True):
        expect(row).to_contain_text(item["title"])
        expect(row).to_contain_text(item["state"])
