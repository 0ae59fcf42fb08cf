"""What the virtual machines of driver `vm` can run: playbooks/agent/wiretune_agent/image.py makes an image of each."""

from __future__ import annotations

from typing import Literal

Distribution = Literal["debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04"]
DEFAULT_DISTRIBUTION: Distribution = "debian-12"
