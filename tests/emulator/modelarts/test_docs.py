"""docs/emulator.md cannot lie about settings and faults. `python -m tests.emulator.modelarts.test_docs` writes them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
from pathlib import Path

from launcher.emulator.modelarts import settings
from launcher.emulator.modelarts.faults import REPLIES, STATES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "emulator.md"


def page() -> str:
    """The page with its tables as the code has them."""
    text = PAGE.read_text("utf-8")
    for name, table in {"settings": settings_table(), "replies": faults(REPLIES), "states": faults(STATES)}.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda found, table=table: f"{found[1]}{table}\n{found[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


def settings_table() -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    meanings = docstrings()
    for field in dataclasses.fields(settings.Settings):
        default = f"`{field.default}`" if field.default != "" else ""
        rows.append(f"| `{field.name}` | {default} | {meanings[field.name]} |")
    return "\n".join(rows)


def docstrings() -> dict[str, str]:
    """What stands below each setting in the source."""
    [body] = [node.body for node in ast.parse(inspect.getsource(settings)).body if isinstance(node, ast.ClassDef)]
    return {
        name.target.id: " ".join(said.value.value.split())
        for name, said in itertools.pairwise(body)
        if isinstance(name, ast.AnnAssign) and isinstance(name.target, ast.Name)
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant)
    }


def faults(known: dict[str, str]) -> str:
    return "\n".join(
        ["| fault | what happens |", "|---|---|", *(f"| `{name}` | {what} |" for name, what in known.items())]
    )


def test_the_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == page(), "python -m tests.emulator.modelarts.test_docs"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
