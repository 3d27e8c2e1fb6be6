"""``doctor`` against the emulated ModelArts, with its faults."""

from __future__ import annotations

import pytest

LOOK = ("doctor", "--target", "modelarts", "--job", "tiny", "--json")


def rows(answer) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in answer.json}


def test_all_is_well(modelarts, cli):
    answer = cli(*LOOK)
    assert answer.code == 0 and {row["status"] for row in answer.json} <= {"ok", "skip"}, answer
    assert modelarts.jobs == []


@pytest.mark.parametrize(
    ("fault", "route", "check", "status", "code"),
    [
        ("forbidden", "show_training_job_flavors", "modelarts", "fail", "ModelArts.0108"),
        ("arrears", "show_training_job_flavors", "modelarts", "fail", "ModelArts.2837"),
        ("html", "show_training_job_flavors", "modelarts", "fail", None),
        ("500", "show_training_quotas", "quota", "warn", "ModelArts.0010"),
        ("forbidden", "show_training_job_engines", "flavor and engine", "fail", "ModelArts.0108"),
    ],
)
def test_faults_are_told(fault, route, check, status, code, modelarts, cli):
    modelarts.faults({"fault": fault, "route": route, "times": 100})
    answer = cli(*LOOK)
    row = rows(answer)[check]
    assert (row["status"], row["code"]) == (status, code) and row["hint"], row
    assert answer.code == (status == "fail")


def test_what_passes_by_itself_is_no_failure(modelarts, cli):
    modelarts.faults({"fault": "429", "route": "show_training_job_flavors", "times": 1})
    assert cli(*LOOK).code == 0


def test_a_clock_that_is_wrong(modelarts, cli):
    modelarts.faults({"fault": "clock-skew", "seconds": 3600, "times": 100})
    answer = cli(*LOOK)
    assert rows(answer)["clock"]["status"] == "warn" and "60 min behind" in rows(answer)["clock"]["found"]


def test_wrong_keys(modelarts, cli, monkeypatch):
    monkeypatch.setenv("OBS_SECRET_ACCESS_KEY", "x" * 40)
    answer = cli(*LOOK)
    found = rows(answer)
    assert answer.code == 1 and found["modelarts"]["code"] == "APIGW.0301" and found["bucket"]["status"] == "fail"
    assert "访问密钥" in found["modelarts"]["hint"] or "访问密钥" in found["project"]["hint"]
