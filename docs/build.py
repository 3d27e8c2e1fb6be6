"""Write what can be derived: the JSON Schema of job.yaml, its table of keys, and every verb's help.

``make docs`` writes; ``python docs/build.py --check`` (a test calls it) says what is out of date.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
HOUSE = DOCS.parent
sys.path.insert(0, str(HOUSE))

import msgspec  # noqa: E402  (after the path is set)

from launcher import settings  # noqa: E402
from launcher.cli import VERBS  # noqa: E402
from launcher.cli import config as config_verb  # noqa: E402
from launcher.cli.storage import SUB_VERBS  # noqa: E402
from launcher.modelarts import causes, explain  # noqa: E402
from launcher.spec import JobSpec  # noqa: E402


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) that editors read."""
    found = msgspec.json.schema(JobSpec)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "job.yaml", **found}


def keys(schema: dict[str, Any]) -> str:
    """A table of all keys, nested ones as ``resources.nodes``."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]

    def walk(definition: dict[str, Any], prefix: str) -> None:
        for name, field in definition["properties"].items():
            reference = field.get("$ref") or next((o["$ref"] for o in field.get("allOf", []) if "$ref" in o), "")
            if reference:
                walk(schema["$defs"][reference.rsplit("/", 1)[-1]], f"{prefix}{name}.")
                continue
            default = json.dumps(field["default"]) if "default" in field else "required"
            rows.append(f"| `{prefix}{name}` | {kind(field)} | `{default}` | {field.get('description', '')} |")

    walk(schema["$defs"]["JobSpec"], "")
    return "\n".join(rows)


def kind(field: dict[str, Any]) -> str:
    """A JSON Schema type in words."""
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"] if value is not None)
    if "anyOf" in field:
        return " or ".join(kind(option) for option in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {kind(field['items'])}"
    if field.get("type") == "object":
        return f"mapping to {kind(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def helps() -> str:
    """What every verb's ``--help`` prints."""
    parts = []
    data = (["data", sub] for sub in ("prepare", "check", "preview", "list"))
    config = (["config", sub] for sub in config_verb.SUB_VERBS)
    for words in [[], *([verb] for verb in VERBS), *data, *(["storage", sub] for sub in SUB_VERBS), *config]:
        command = [sys.executable, "-m", "launcher", *words, "--help"]
        env = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
        done = subprocess.run(command, cwd=HOUSE, env=env, capture_output=True, text=True, check=True)
        title = " ".join(["python -m launcher", *words])
        parts.append(f"## `{title}`\n\n```text\n{done.stdout.rstrip()}\n```\n")
    return "\n".join(parts)


def settings_table() -> str:
    """Every key of a settings file, its variables and its default."""
    rows = ["| key | variables | default | meaning |", "|---|---|---|---|"]
    meanings = msgspec.json.schema(settings.Settings)["$defs"]["Settings"]["properties"]
    for key, default in settings.DEFAULTS.items():
        variables = ", ".join(f"`{name}`" for name in settings.variables(key))
        rows.append(f"| `{key}` | {variables} | `{json.dumps(default)}` | {meanings[key].get('description', '')} |")
    return "\n".join(rows)


def causes_table() -> str:
    """What a failed run's log and exit code can tell."""
    rows = ["| kind | what happened | what to do |", "|---|---|---|"]
    known = [(rule.kind, rule.what, rule.hint) for rule in causes.RULES] + list(causes.EXIT_CODES.values())
    for kind, what, hint in known:
        what = re.sub(r"\{(\w+)\}", lambda found: f"*{found[1]}*", what)
        rows.append(f"| {kind} | {what} | {hint} |")
    return "\n".join(rows)


def codes_table() -> str:
    """What a service's error codes mean."""
    rows = ["| code | meaning | what mends it |", "|---|---|---|"]
    rows += [f"| {code} | {what} | {hint} |" for code, (what, hint) in explain.CODES.items()]
    rows += [f"| ModelArts.{first}-{last} | {what} | {hint} |" for first, last, (what, hint) in explain.FAMILIES]
    rows += [f"| HTTP {status}, no known code | {what} | {hint} |" for status, (what, hint) in explain.STATUSES.items()]
    return "\n".join(rows)


def splice(path: Path, name: str, text: str) -> str:
    """The file with the part between ``<!-- NAME -->`` and ``<!-- /NAME -->`` replaced."""
    return splice_all(path, {name: text})


def splice_all(path: Path, parts: dict[str, str]) -> str:
    """The file with several parts replaced."""
    whole = path.read_text("utf-8")
    for name, text in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        whole = re.sub(pattern, lambda m, text=text: f"{m[1]}{text}\n{m[2]}", whole, count=1, flags=re.DOTALL)
    return whole


def build() -> dict[Path, str]:
    """Every derived file with the text that it should have."""
    found = schema()
    return {
        DOCS / "job.schema.json": json.dumps(found, indent=2) + "\n",
        DOCS / "job-yaml.md": splice(DOCS / "job-yaml.md", "keys", keys(found)),
        DOCS / "cli.md": splice(DOCS / "cli.md", "help", helps()),
        DOCS / "configuration.md": splice(DOCS / "configuration.md", "settings", settings_table()),
        DOCS / "troubleshooting.md": splice_all(
            DOCS / "troubleshooting.md", {"causes": causes_table(), "codes": codes_table()}
        ),
    }


def main(arguments: list[str]) -> int:
    """Write, or with ``--check`` compare; 1 when something is out of date."""
    stale = {path: text for path, text in build().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        if "--check" in arguments:
            print(f"{path.relative_to(HOUSE)} is out of date: make docs")
        else:
            path.write_text(text, "utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
