"""Docs cannot lie: what is derived is current, what is shown parses, both languages say the same."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.__main__ import build_parser
from launcher.cli import VERBS

HOUSE = Path(__file__).resolve().parent.parent
READMES = ["README.md", "README.zh.md"]


def commands(name: str) -> list[str]:
    """The shell lines of a README that call the launcher, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (HOUSE / name).read_text("utf-8"), flags=re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [re.sub(r"^RUN=\$\((.*)\)$", r"\1", line) for line in lines]


def test_what_is_derived_is_current() -> None:
    done = subprocess.run([sys.executable, "docs/build.py", "--check"], cwd=HOUSE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", READMES)
def test_every_command_in_a_readme_parses(name: str) -> None:
    parser = build_parser(list(VERBS))
    seen = set()
    for line in commands(name):
        if line.startswith("python -m launcher"):
            words = shlex.split(line)[3:]
            seen.add(parser.parse_args(words[: words.index("--")] if "--" in words else words).verb)
    assert seen >= {"submit", "logs", "stop", "runs", "pull", "data"}


def test_both_readmes_show_the_same_commands_and_figures() -> None:
    english, chinese = ((HOUSE / name).read_text("utf-8") for name in READMES)
    assert commands("README.md") == commands("README.zh.md")
    for part in ("transcript", "figures"):
        shown = [re.search(rf"<!-- {part} -->\n(.*?)<!-- /{part} -->", text, re.DOTALL) for text in (english, chinese)]
        assert shown[0] and shown[1] and shown[0][1] == shown[1][1]
        assert shown[0][1].strip(), f"the {part} is empty"


@pytest.mark.parametrize("name", READMES)
def test_the_two_commands_are_targets_of_the_makefile(name: str) -> None:
    makefile = (HOUSE / "Makefile").read_text()
    for target in ("run", "test"):
        assert f"make {target} " in (HOUSE / name).read_text("utf-8")
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE)


def test_every_link_leads_somewhere() -> None:
    for path in [*HOUSE.glob("*.md"), *(HOUSE / "docs").rglob("*.md"), *(HOUSE / "bench").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
            assert (path.parent / link).exists(), f"{path.relative_to(HOUSE)} links to {link}"
