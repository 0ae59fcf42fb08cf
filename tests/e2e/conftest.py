"""A real service, a real browser, and studies that the tests of the dashboard share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "contract"))

from service_process import ServiceProcess, finished, make_study, make_testbed, wait_for  # noqa: E402

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 20_000
expect.set_options(timeout=PATIENCE_MS)

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A running service with two simulated testbeds: "fast" answers at once, "slow" takes a while for a sample."""
    assert (ROOT / "web" / "dist" / "index.html").is_file(), "the dashboard is not built: (cd web && npm run build)"
    service = ServiceProcess(tmp_path_factory.mktemp("service") / "data")
    service.data_dir.mkdir(mode=0o700)
    service.start()
    with service.client() as client:
        make_testbed(client, "fast", sockets=2, cores_per_socket=4)
        make_testbed(client, "slow", sample_time_ratio=0.2)
    yield service
    service.stop()


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    """The API, for what a test needs and does not test."""
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def completed_study(service: ServiceProcess) -> str:
    """Id of a completed Pareto study with a verdict and a bundle."""
    with service.client() as client:
        study_id: str = make_study(
            client, "fast", label="Finished", objective="pareto", trials=12, repeats=2, explain_rounds=4
        )
        study = wait_for(client, f"/studies/{study_id}", finished, timeout_s=90)
    assert study["state"] == "completed", study["failure"]
    return study_id


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium: nothing is downloaded."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    assert executable, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile. After the test: no script error, and nothing that the content security policy refused."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or (
            message.type == "error" and "Failed to load" not in message.text
        ):
            faults.append(message.text)

    context.on("console", on_console)
    context.on("weberror", lambda error: faults.append(str(error.error)))
    yield context
    context.close()
    assert faults == []


@pytest.fixture
def open_page(service: ServiceProcess, context: BrowserContext) -> OpenPage:
    """Opens a page of the dashboard, signed in by the link that `wiretune serve` prints."""

    def open_page(path: str = "/", *, token: str | None = None) -> Page:
        page = context.new_page()
        page.goto(f"{service.base_url}{path}#token={token or service.token}")
        page.get_by_role("heading", level=1).wait_for()
        return page

    return open_page
