"""Rules of the tree that an import cannot show."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
APP = ROOT / "app"


def calls(source: Path) -> set[str]:
    """Names of the methods that a file calls."""
    tree = ast.parse(source.read_text())
    return {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def test_only_the_database_module_begins_and_commits() -> None:
    begin_or_commit = {source for source in APP.rglob("*.py") if calls(source) & {"commit", "begin", "begin_nested"}}
    assert begin_or_commit == {APP / "database.py"}


def test_every_feature_has_the_same_files() -> None:
    for feature in ("testbeds", "studies", "measurements", "tokens", "events"):
        files = {path.stem for path in (APP / feature).glob("*.py")}
        assert {"models", "schemas", "service", "endpoints"} <= files


def test_the_images_get_packages_that_were_tested() -> None:
    tested, used = (_locked(ROOT / f"requirements{kind}.lock") for kind in ("", "-service"))
    assert used.items() <= tested.items(), "compile requirements-service.lock again: see CONTRIBUTING.md"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    missing = {re.split(r"[>=\[]", requirement)[0].lower() for requirement in wanted} - used.keys()
    assert not missing, "compile requirements-service.lock again: see CONTRIBUTING.md"
    assert not {"pytest", "mypy", "ruff"} & used.keys()


def _locked(lock: Path) -> dict[str, str]:
    """Package to version and marker."""
    lines = re.findall(r"^([a-z0-9._-]+)==(.*?) *\\?$", lock.read_text(), flags=re.MULTILINE)
    assert len(lines) > 20
    return dict(lines)
