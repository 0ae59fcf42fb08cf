"""Requests about bundles."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.bundles.site import Site


class BundleRequest(BaseModel):
    """How to build a study's bundle again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "site": {
                        "a": {"underlay_address": "192.0.2.1", "inner_networks": ["10.1.0.0/16"]},
                        "b": {"underlay_address": "192.0.2.2", "inner_networks": ["10.2.0.0/16"]},
                    }
                }
            ]
        },
    )

    site: Site | None = Field(None, description="addresses of the production gateways; null: those of the testbed")
