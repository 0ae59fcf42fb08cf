"""From a study's result to the files of a bundle. Pure: the same source gives the same bytes.

Files that a program obeys (TOML, units, scripts, playbooks) are made of numbers, addresses and names that a pattern has
checked. Text from hosts and users goes into JSON and, as code spans, into README.md, and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2

from app.bundles.contents import SCHEMA_VERSION, BundleSource
from app.bundles.lanes import STATIC_FILES, GatewayPlan, gateway_plan, play_variables
from app.bundles.placed_file import PlacedFile
from app.bundles.site import NETNS_SITE
from app.studies.schemas import BlockView
from tuner.candidate import GATEWAYS, Gateway
from tuner.samples import Reference, Sample

TEMPLATES = Path(__file__).parent / "templates"
_SHOWN_FACT_CHARACTERS = 200
_CONTROL = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]|[\u2028-\u202e\u2066-\u2069]")


def code(text: object) -> str:
    """Untrusted text as one Markdown code span on one line: nothing in it is markup, not even in a table."""
    line = _CONTROL.sub(" ", str(text))[:_SHOWN_FACT_CHARACTERS].replace("`", "'").replace("|", "/").strip()
    return f"`{line}`" if line else ""


def plain(text: object) -> str:
    """Untrusted text reduced to letters, digits and the signs of a unit."""
    return re.sub(r"[^A-Za-z0-9 ,./%²-]", "", str(text))[:_SHOWN_FACT_CHARACTERS]


def gain(ratio: float) -> str:
    """A gain ratio as people say it: 1.415 is "+41.5 %"."""
    return f"{(ratio - 1) * 100:+.1f} %"


def toml(value: str | list[str]) -> str:
    """A TOML basic string or array of them. Raises ValueError for anything but printable ASCII."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"{value!r} does not belong into a configuration file")
    return json.dumps(value)


def pretty_json(value: object) -> bytes:
    """JSON with sorted keys, ASCII only."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def render(source: BundleSource) -> dict[str, bytes]:
    """All files of the bundle but SHA256SUMS, by name."""
    environment = _environment()
    plans = {name: gateway_plan(source, name) for name in GATEWAYS}
    files: dict[str, bytes] = {}
    for plan in plans.values():
        for placed in plan.files.values():
            files |= {file.source: _content(environment, plan, file) for file in placed}
    for name in STATIC_FILES:
        files[name] = (TEMPLATES / name).read_bytes()
    files["vars.json"] = pretty_json(play_variables(source, plans))
    files["manifest.json"] = pretty_json(manifest(source))
    files |= evidence(source)
    files["README.md"] = environment.get_template("README.md.j2").render(_readme_variables(source, plans)).encode()
    return files


def _content(environment: jinja2.Environment, plan: GatewayPlan, file: PlacedFile) -> bytes:
    if isinstance(file.template, Path):
        return file.template.read_bytes()
    return environment.get_template(file.template).render(plan.variables(file.lane)).encode()


def manifest(source: BundleSource) -> dict[str, Any]:
    """What the bundle is and where it comes from."""
    result, verdict = source.result, source.verdict
    return {
        "schema_version": SCHEMA_VERSION,
        "bundle": source.name,
        "study": {"id": result.study, "label": result.spec.label, "objective": result.objective},
        "testbed": {"name": result.testbed, "driver": result.driver},
        "measured_until": source.measured_until.isoformat(),
        "simulated": result.simulated,
        "emulated": result.emulated,
        "versions": {"wiretune": result.wiretune_version, **source.versions},
        "candidate": {"key": verdict.best.key, "value": verdict.best.model_dump(mode="json")},
        "baseline": {"key": verdict.baseline.key, "value": verdict.baseline.model_dump(mode="json")},
        "verdict": verdict.model_dump(mode="json", exclude={"best", "baseline"}),
        "gateways": {
            name: {"fingerprint_hash": gateway.fingerprint_hash, "fingerprint": gateway.fingerprint}
            for name, gateway in result.gateways.items()
        },
        "site": source.site.model_dump(mode="json"),
    }


def evidence(source: BundleSource) -> dict[str, bytes]:
    """Everything that was measured, and how."""
    result = source.result
    blocks = [
        {"trial": trial.number, "candidate_key": trial.candidate_key, **block.model_dump(mode="json")}
        for trial in result.trials
        for block in trial.measured
    ]
    reference = result.explanation.reference if result.explanation else None
    measured: list[Sample | Reference] = [sample for block in _blocks(source) for sample in block.samples]
    measured += [reference] if reference else []
    commands = {(one.tool_version, command) for one in measured for command in one.argv}
    files: dict[str, object] = {
        # The state changes once the bundle is there, and building it again must give the same bytes.
        "result": result.model_dump(mode="json", exclude={"state", "failure", "finished_at"}),
        "samples": [
            {key: block[key] for key in ("trial", "candidate_key", "phase", "index", "attempt")} | {"sample": sample}
            for block in blocks
            for sample in block["samples"]
        ],
        "confirm": [block for block in blocks if block["phase"] in ("playoff", "verdict")],
        "reference": reference.model_dump(mode="json") if reference else None,
        "commands": [{"tool_version": version, "argv": list(argv)} for version, argv in sorted(commands)],
        "fingerprints": {name: gateway.model_dump(mode="json") for name, gateway in result.gateways.items()},
    }
    return {f"evidence/{name}.json": pretty_json(content) for name, content in files.items()}


def _blocks(source: BundleSource) -> Iterator[BlockView]:
    return (block for trial in source.result.trials for block in trial.measured)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(  # noqa: S701  none of the files is HTML; text is escaped by the filters below
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": code, "plain": plain, "toml": toml, "figure": "{:.3g}".format, "gain": gain}
    environment.filters["json"] = partial(json.dumps, indent=1)  # Jinja's own sorts, and host settings have an order.
    return environment


def _readme_variables(source: BundleSource, plans: Mapping[Gateway, GatewayPlan]) -> dict[str, Any]:
    near, result = plans["a"], source.result
    carried = next(file for file in near.files["engine"] if file.carries_keys)
    workloads = {sample.workload.name for block in _blocks(source) for sample in block.samples}
    return {
        "bundle": source.name,
        "result": result,
        "verdict": source.verdict,
        "site": source.site,
        "is_testbed": source.site == NETNS_SITE,
        "measured_until": f"{source.measured_until:%Y-%m-%d %H:%M} UTC",
        "conditions": {name: _shown_facts(gateway.fingerprint) for name, gateway in sorted(result.gateways.items())},
        "workloads": "; ".join(sorted(workloads)),
        "rows": _file_table(near),
        "lanes": near.lanes,
        "manual": carried,
        "units": " ".join(near.units["engine"]),
    }


def _shown_facts(fingerprint: Mapping[str, Any]) -> dict[str, object]:
    """What a reader wants to know first, as far as the host said it; the whole fingerprint is in the evidence."""
    cpu = fingerprint.get("cpu")
    facts = {
        "CPU": cpu.get("model") if isinstance(cpu, dict) else None,
        "kernel": fingerprint.get("kernel"),
        "system": fingerprint.get("distribution"),
    }
    return {label: value for label, value in facts.items() if value}


def _file_table(plan: GatewayPlan) -> list[dict[str, str]]:
    rows = {}
    for file in plan.all_files():
        if file.lane is not None and file.lane.number > 0:
            continue
        folder, _, name = file.source.partition("/")
        each = "" if file.lane is None else ", one a lane"
        source, destination = f"`a/{name}`, `b/{name}`{each}", file.destination
        if folder != plan.name:  # Of a folder that both gateways get whole.
            source, destination = f"`{folder}/`", f"{destination.partition(f'/{folder}/')[0]}/{folder}/"
        rows[source] = {"source": source, "destination": f"`{destination}`", "purpose": file.purpose}
    return list(rows.values()) + [
        {"source": name, "destination": "", "purpose": purpose} for name, purpose in _OTHER_FILES
    ]


_OTHER_FILES = (
    ("`apply.yml`, `rollback.yml`", "Ansible: put it into production, take it out again"),
    ("`inventory.ini`, `vars.json`", "Ansible: your gateways; which file goes where"),
    ("`keys.sh`, `place_files.py`", "make the keys on each gateway; put the files in place"),
    ("`manifest.json`", "versions, fingerprints, configuration, baseline, verdict"),
    ("`evidence/`", "samples, confirm blocks, the link without a tunnel, command lines, result"),
)
