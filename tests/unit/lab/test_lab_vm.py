"""What the machines of driver vm can run is told in several places: the API, the command, the playbook, the image."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml
from wiretune_agent import image, machines
from wiretune_agent.errors import AgentError

from app.cli.resources import DistributionName
from app.lab.distribution import Distribution
from app.lab.vm import Nic

SPECS = Path(__file__).parents[3] / "playbooks" / "roles" / "vm" / "meta" / "argument_specs.yml"


def test_all_places_name_the_same_distributions_and_network_cards() -> None:
    options = yaml.safe_load(SPECS.read_text())["argument_specs"]["create"]["options"]["vm_testbed"]["options"]
    distributions = set(get_args(Distribution))
    assert distributions == set(image.DISTRIBUTIONS) == set(options["distribution"]["choices"])
    assert distributions == {name.value for name in DistributionName}
    assert set(get_args(Nic)) == set(machines.NICS) == set(options["nic"]["choices"])


def test_no_image_without_the_keys_of_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "KEYRINGS", tmp_path)
    with pytest.raises(AgentError, match=r"ubuntu-archive-keyring\.gpg is missing") as raised:
        image.ensure(tmp_path / "cache", "ubuntu-24.04")
    assert "install the package ubuntu-archive-keyring" in raised.value.hint
    assert not list((tmp_path / "cache").glob("ubuntu*"))
