"""`python3 AGENT lease STATE_FOLDER`: the watcher that takes an unconfirmed candidate away again (see lease.py)."""

from __future__ import annotations

import sys
from pathlib import Path

from wiretune_agent import lease

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "lease":
        sys.exit("usage: AGENT lease STATE_FOLDER")
    lease.watch(Path(sys.argv[2]))
