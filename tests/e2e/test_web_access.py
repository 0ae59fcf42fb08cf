"""The dashboard for everybody: by keyboard alone, in the dark, on a phone, and by the rules of axe-core."""

from __future__ import annotations

from typing import Literal

import pytest
from conftest import ROOT, OpenPage
from playwright.sync_api import BrowserContext, Page, expect

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
PATHS = [
    "/studies",
    "/studies?tune=fast",
    "/testbeds",
    "/measurements",
    "/capabilities",
    "/studies/{study}",
    "/studies/{study}?trial={trial}",
]
FOCUS_IS_INSIDE = """() => {
    const focused = document.activeElement;
    return focused === document.body || document.querySelector("dialog").contains(focused);
}"""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SERIOUS = ("serious", "critical")


def test_the_keyboard_alone_is_enough(open_page: OpenPage, completed_study: str) -> None:
    page = open_page("/studies")
    page.get_by_role("link", name="Finished").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    _tab_to(page, "Finished")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Finished")).to_be_visible()
    expect(page.get_by_role("main")).to_be_focused()

    _tab_to(page, "Efficiency")
    header = page.get_by_role("columnheader", name="Efficiency")
    page.keyboard.press("Enter")
    first = header.get_attribute("aria-sort")
    page.keyboard.press("Space")
    assert {first, header.get_attribute("aria-sort")} == {"ascending", "descending"}

    _tab_to(page, "Trial 1")
    page.keyboard.press("Enter")
    drawer = page.get_by_role("dialog", name="Trial 1")
    expect(drawer).to_be_visible()
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS_IS_INSIDE), "the focus left the dialog"
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    expect(page.get_by_role("button", name="Trial 1", exact=True)).to_be_focused()


def test_the_theme_follows_the_system_until_somebody_chooses(open_page: OpenPage, context: BrowserContext) -> None:
    page = open_page("/studies")
    light = _background(page)
    page.emulate_media(color_scheme="dark")
    dark = _background(page)
    assert _brightness(light) > 200
    assert _brightness(dark) < 60
    page.get_by_role("button", name="Use the light theme").click()
    assert _background(page) == light
    page.reload()
    expect(page.get_by_role("button", name="Use the dark theme")).to_be_visible()
    assert _background(page) == light


@pytest.mark.parametrize("path", PATHS)
def test_nothing_sticks_out_of_a_phone(open_page: OpenPage, completed_study: str, path: str) -> None:
    page = open_page(_filled(path, completed_study))
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("path", PATHS)
def test_axe_finds_nothing_serious(open_page: OpenPage, completed_study: str, path: str) -> None:
    assert AXE.is_file(), "axe-core is not installed: (cd web && npm ci)"
    page = open_page(_filled(path, completed_study))
    page.wait_for_load_state("networkidle")
    page.evaluate(AXE.read_text())
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert _violations(page) == [], scheme


def _filled(path: str, study: str) -> str:
    return path.format(study=study, trial="1")


def _violations(page: Page) -> list[str]:
    report = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in report["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


def _tab_to(page: Page, name: str) -> None:
    """Press Tab until the element with this text has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText?.trim()") == name:
            return
    raise AssertionError(f"Tab never reaches {name!r}")


def _background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def _brightness(colour: str) -> float:
    channels = [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    return sum(channels) / 3
