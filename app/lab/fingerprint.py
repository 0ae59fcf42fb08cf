"""A gateway's fingerprint: what must be the same for two measurements to be comparable."""

from __future__ import annotations

import hashlib
import json

from app.lab.agent_messages import Facts


def fingerprint_hash(facts: Facts) -> str:
    """16 hex digits; equal when hardware, kernel, settings and program versions are."""
    value = {"fingerprint": facts.fingerprint, "topology": facts.topology.model_dump(mode="json")}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
