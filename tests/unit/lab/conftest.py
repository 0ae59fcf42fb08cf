"""Makes the agent's package importable: on a gateway, the module `gateway` does the same."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "playbooks" / "agent"))
