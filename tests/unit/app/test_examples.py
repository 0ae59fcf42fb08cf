"""The examples of the OpenAPI document are answers that the API could give."""

from __future__ import annotations

from app.studies.examples import EXPLANATION
from app.studies.schemas import Explanation, StudyCreate


def test_examples_are_valid() -> None:
    explanation = Explanation.model_validate(EXPLANATION)
    assert explanation.ablation is not None
    assert [step.words for step in explanation.ablation.steps] == [
        step["words"] for step in EXPLANATION["ablation"]["steps"]
    ]
    for example in StudyCreate.model_config["json_schema_extra"]["examples"]:  # type: ignore[index, call-overload]
        assert StudyCreate.model_validate(example).testbed == "demo"
