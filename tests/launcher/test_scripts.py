"""Scripts that nobody adapted run as they are: each is told its folders in the way that it can understand."""

from __future__ import annotations

import pytest

STRICT = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.5)
args = parser.parse_args()
print("lr", args.lr)
"""
STRICT_WITH_DATA = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument('--data_url', required=True)
parser.add_argument("--lr", type=float)
args = parser.parse_args()
print(sorted(os.listdir(args.data_url)), args.lr)
"""
ADAPTED = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument('--data_url', required=True, default=None, help='Location of data.')
parser.add_argument('--train_url', required=True, default=None, help='Location of training outputs.')
args, unknown = parser.parse_known_args()
open(os.path.join(args.train_url, "model.txt"), "w").write("ok")
print(sorted(os.listdir(args.data_url)), unknown)
"""
BY_VARIABLE = """
import os
print(sorted(os.listdir(os.environ["data_url"])))
open(os.path.join(os.environ["train_url"], "model.txt"), "w").write("ok")
"""
BY_HAND = """
import sys
import helper
print(sys.argv[1:], helper.WORD)
"""


@pytest.fixture
def script(project):
    (project.root / "digits").mkdir()
    (project.root / "digits" / "a.txt").write_text("a")
    (project.root / "src").mkdir()
    (project.root / "src" / "helper.py").write_text("WORD = 'found'\n")

    def write(text):
        (project.root / "src" / "main.py").write_text(text)
        return "src/main.py"

    return write


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (STRICT, ["--lr", "0.1"], "lr 0.1"),
        (STRICT_WITH_DATA, ["--lr", "0.1"], "['a.txt'] 0.1"),
        (ADAPTED, ["--more", "x"], "['a.txt'] ['--more', 'x']"),
        (BY_VARIABLE, [], "['a.txt']"),
        (BY_HAND, ["a", "-b", "c d"], "['a', '-b', 'c d'] found"),
    ],
    ids=["strict", "strict-with-data", "adapted", "by-variable", "by-hand"],
)
def test_it_runs_as_it_is(text, arguments, said, script, project, cli):
    answer = cli("submit", "--script", script(text), "--data", "digits", "--", *arguments)
    assert answer.code == 0, answer
    assert answer.out.strip() == said
    output = project.home / "outputs"
    if "train_url" in text:
        assert (next(output.iterdir()) / "model.txt").read_text() == "ok"


def test_without_data_too(script, cli):
    assert cli("submit", "--script", script(STRICT)).out == "lr 0.5\n"


def test_the_plan_says_how_each_folder_is_handed_over(script, cli):
    plan = cli("submit", "--script", script(STRICT_WITH_DATA), "--data", "digits", "--dry-run", "--json").json
    access = {channel["name"]: channel["access"] for channel in plan["request"]["inputs"] + plan["request"]["outputs"]}
    assert access == {"data_url": "parameter", "train_url": "env"}


def test_a_script_that_refuses_unknown_arguments_is_pointed_out(script, cli):
    assert any("parse_args" in n for n in cli("submit", "--script", script(STRICT), "-n", "--json").json["notes"])


SECRET = "Zx9Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0LzXcVbNm12"


@pytest.mark.parametrize(
    "words",
    [["--env", f"OBS_SK={SECRET}"], ["--", "--sk", SECRET], ["--", f"--sk={SECRET}"]],
    ids=lambda w: w[0] + w[1][:5],
)
@pytest.mark.parametrize("mode", [[], ["--dry-run", "--json"]], ids=["run", "plan"])
def test_a_key_on_the_command_line_goes_nowhere(words, mode, script, project, cli):
    answer = cli("submit", "--script", script(BY_HAND), *mode, *words)
    assert answer.code == 1 and "looks like" in answer.out + answer.err
    assert SECRET not in answer.out + answer.err
    assert not project.home.exists()


def test_a_value_that_only_looks_secret_may_pass(script, cli):
    answer = cli("submit", "--script", script(BY_HAND), "--allow-secret", "sk", "--", "--sk", SECRET)
    assert answer.code == 0 and SECRET in answer.out


def test_data_inside_the_project_is_sent_once(script, project, cli):
    (project.root / "src" / "data").mkdir()
    (project.root / "src" / "data" / "x.bin").write_bytes(b"x")
    plan = cli("submit", "--script", script(BY_HAND), "--data", "src/data", "-n", "--json").json
    assert "data/x.bin" not in [file["path"] for file in plan["code"]["files"]]
    assert plan["data"]["files"] == 1
