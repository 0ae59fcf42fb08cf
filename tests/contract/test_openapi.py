"""Every operation of the OpenAPI document against the running service, with generated input."""

from __future__ import annotations

import json
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, assume, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import make_app
from app.openapi import as_text
from tests.contract.service_process import ServiceProcess

WEB_COPY = Path(__file__).resolve().parents[2] / "web" / "openapi.json"
STREAMS = ("followEvents", "followStudy")  # endless; tests/contract/test_study.py follows them

schema = schemathesis.openapi.from_dict(json.loads(as_text(make_app()))).exclude(operation_id=list(STREAMS))


def test_dashboard_has_the_current_document() -> None:
    assert WEB_COPY.read_text() == as_text(make_app()), "run: wiretune openapi > web/openapi.json"


@schema.parametrize()
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_operations_keep_their_contract(case: schemathesis.Case, service: ServiceProcess) -> None:
    assume(not _touches_hosts(case) and not _revokes_our_token(case))
    case.call_and_validate(
        base_url=service.base_url,
        headers={"Authorization": f"Bearer {service.token}"},
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            response_headers_conformance,
            ignored_auth,
        ],
    )


def _touches_hosts(case: schemathesis.Case) -> bool:
    """Namespaces, virtual machines, and connections to addresses that were made up."""
    body = case.body if isinstance(case.body, dict) else {}
    return _operation(case) == "createTestbed" and body.get("driver", "netns") in ("netns", "vm", "ssh", "compose")


def _revokes_our_token(case: schemathesis.Case) -> bool:
    return _operation(case) == "revokeToken" and str(case.path_parameters.get("token_id")) == "1"


def _operation(case: schemathesis.Case) -> str:
    return str(case.operation.definition.raw["operationId"])
