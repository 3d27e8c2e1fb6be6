"""The published JSON Schema and the launcher agree on what a job may say."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

HOUSE = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((HOUSE / "docs" / "job.schema.json").read_text())
GOOD = {"name": "tiny", "boot_file": "jobs/tiny/main.py"}


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted((HOUSE / "jobs").glob("*/job.yaml")), ids=lambda path: path.parent.name)
def test_our_own_jobs_fit(path):
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"name": 7},
        {"code": {"includes": []}},
        {"parameters": {"a": [1]}},
        {"environment": {"A": 1}},
        {"resources": {"nodes": 0}},
        {"resources": {"nodes": 65}},
        {"contract": "middle"},
    ],
)
def test_what_it_refuses_the_launcher_refuses(change, project, cli):
    spec = {**GOOD, **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, SCHEMA)
    project.job("tiny", "print(1)\n")
    (project.root / "jobs" / "tiny" / "job.yaml").write_text(json.dumps(spec))
    assert cli("submit", "tiny", "--dry-run").code == 2
