"""The tables of fields say what the parsers do, and the published schemas are made of them."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from rig import ROOT

from rekindle.daemon import config, schemas
from rekindle.daemon.spec.fields import Field, Table
from rekindle.daemon.spec.job_fields import SPEC
from rekindle.jobs.job import CheckpointPolicy, Job, Limits, Resources, RetryPolicy


def fields(table: Table) -> Iterator[tuple[str, Field]]:
    for field in table.fields:
        yield f"{table.name}.{field.name}".strip("."), field
    for section in table.sections:
        yield from fields(section)


def shallow(value: Any, rule: dict[str, Any]) -> bool:
    """Check a value against the part of JSON Schema that the tables use."""
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
    if "anyOf" in rule and not any(shallow(value, one) for one in rule["anyOf"]):
        return False
    if "type" in rule and not isinstance(value, kinds[rule["type"]]):
        return False
    if "const" in rule and value != rule["const"]:
        return False
    if "enum" in rule and value not in rule["enum"]:
        return False
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        return False
    if isinstance(value, int) and not (
        rule.get("minimum", value) <= value <= rule.get("maximum", value)
    ):
        return False
    if isinstance(value, list):
        return all(shallow(item, rule.get("items", {})) for item in value)
    if isinstance(value, dict) and "properties" in rule:
        return all(
            key in rule["properties"] and shallow(item, rule["properties"][key])
            for key, item in value.items()
        )
    return True


@pytest.mark.parametrize("name", schemas.texts())
def test_the_published_schema_is_the_generated_one(name: str) -> None:
    """Else: `make reference`."""
    assert schemas.texts()[name] == (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize(("name", "field"), [*fields(SPEC), *fields(config.CONFIG)])
def test_defaults_and_examples_are_accepted_by_parser_and_schema(name: str, field: Field) -> None:
    for value in (field.default, field.example):
        if value is not None:
            field.kind.read(value)
            assert shallow(value, dict(field.kind.schema)), name


def test_defaults_are_those_of_a_job() -> None:
    """A default that the editor shows is the one that the daemon uses."""
    made = {
        section.name: section.makes(
            **{f.name: f.kind.read(f.default) for f in section.fields if f.default is not None}
        )
        for section in SPEC.sections
        if section.makes is not None
    }
    assert made == {
        "resources": Resources(),
        "checkpoint": CheckpointPolicy(),
        "retry": RetryPolicy(),
        "limits": Limits(),
    }
    job = Job("x", "/")
    assert {f.name: f.default for f in SPEC.fields if f.default is not None} == {
        name: getattr(job, name)
        for name in (
            "args",
            "env",
            "seed",
            "priority",
            "after",
            "live",
            "allow_change",
            "freeze_clock",
        )
    }


def test_defaults_are_those_of_a_configuration() -> None:
    made = config.Config(
        **{
            section.name: section.makes(
                **{f.name: f.kind.read(f.default) for f in section.fields if f.default is not None}
            )
            for section in config.CONFIG.sections
            if section.makes is not None
        }
    )
    assert made == config.Config()


def test_the_examples_of_the_documents_fit_the_schemas() -> None:
    made = {name: json.loads(text) for name, text in schemas.texts().items()}
    page = (ROOT / "docs" / "spec.md").read_text()
    for kind, text in re.findall(r"```(toml|yaml)\n(.*?)```", page, re.DOTALL)[:2]:
        value = tomllib.loads(text) if kind == "toml" else yaml.safe_load(text)
        assert shallow(value, made["spec.schema.json"])
    page = (ROOT / "docs" / "configuration.md").read_text()
    for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL):
        assert shallow(tomllib.loads(text), made["config.schema.json"])
    assert not shallow({"seed": -1}, made["spec.schema.json"])
    assert not shallow({"checkpoint": {"keeep": 1}}, made["spec.schema.json"])
