"""The containers of docker-compose.yml are only reached from among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.lab.compose import ComposeDriver
from app.lab.driver import LabError


def test_outside_of_the_containers_it_says_what_to_do(tmp_path: Path) -> None:
    driver = ComposeDriver("x", tmp_path / "none", tmp_path)
    with pytest.raises(LabError, match="does not run in one") as raised:
        driver.provision(lambda *_: None, lambda: False)
    assert "docker compose up" in raised.value.hint
