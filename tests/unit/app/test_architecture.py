"""Rules of the tree that an import cannot show."""

from __future__ import annotations

import ast
from pathlib import Path

APP = Path(__file__).resolve().parents[3] / "app"


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
