"""Signing in: by form, by link, and what happens when a token stops being valid."""

from __future__ import annotations

import httpx
from playwright.sync_api import BrowserContext, expect
from service_process import ServiceProcess


def test_the_form_refuses_a_wrong_token_and_takes_the_right_one(
    service: ServiceProcess, context: BrowserContext
) -> None:
    page = context.new_page()
    page.goto(f"{service.base_url}/testbeds")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Paste the token first.")).to_be_visible()

    page.get_by_label("Access token").fill("wt_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("The service does not know this token.")).to_be_visible()
    expect(page.get_by_label("Access token")).to_have_attribute("aria-invalid", "true")

    page.get_by_label("Access token").fill(service.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1, name="Testbeds")).to_be_visible()


def test_the_link_signs_in_and_leaves_no_token_in_the_address(service: ServiceProcess, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(f"{service.base_url}/studies#token={service.token}")
    expect(page.get_by_role("heading", level=1, name="Studies")).to_be_visible()
    assert page.url == f"{service.base_url}/studies"
    page.reload()
    expect(page.get_by_role("heading", level=1, name="Studies")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_revoked_token_leads_back_to_the_sign_in_page(
    service: ServiceProcess, context: BrowserContext, client: httpx.Client
) -> None:
    token = client.post("/tokens", json={"name": "to be revoked"}).json()
    page = context.new_page()
    page.goto(f"{service.base_url}/studies#token={token['token']}")
    expect(page.get_by_role("heading", level=1, name="Studies")).to_be_visible()

    assert client.delete(f"/tokens/{token['id']}").status_code == 204
    # The next request is refused: this page's own refresh, after which the link is gone, or what the link asks for.
    page.evaluate("document.querySelector('a[href=\"/measurements\"]')?.click()")
    expect(page.get_by_role("alert")).to_contain_text("The service refused the token")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
