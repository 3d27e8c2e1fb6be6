"""A pipeline in one page: the facts as text, and an HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.4rem; } td { padding: .15rem 1rem .15rem 0; vertical-align: top; } td:first-child { color: #666; }
img { max-width: 100%; border: 1px solid #ddd; } code { font-size: .85em; overflow-wrap: anywhere; }
"""


def lines(job: str, facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What came of each step, a line each."""
    return [f"{name:<11}{value}" for name, value in rows(job, facts)]


def rows(job: str, facts: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The same as pairs."""
    train, export, verify, infer = (facts[name] for name in ("train", "export", "verify", "infer"))
    parameters = " ".join(f"{name}={value}" for name, value in train["parameters"].items())
    check, result = export["check"], train["result"] or {}
    accuracy = f"accuracy {result['accuracy']:.4f} in training" if "accuracy" in result else "no result"
    return [
        ("job", f"{job} {parameters}"),
        ("run", f"{train['run']}: {accuracy}"),
        ("checkpoint", f"{train['checkpoint']['file']} {train['checkpoint']['sha256'][:16]}"),
        ("model", f"{export['file']}, {export['size']} bytes, {export['sha256'][:16]}"),
        ("compared", f"at most {check['max_abs_difference']:.3g} from MindSpore on {check['images']} test pictures"),
        ("verified", f"{verify['pictures'] - verify['different']} of {verify['pictures']} predictions as MindSpore's"),
        ("accuracy", f"{infer['accuracy']:.4f}: {infer['correct']} of {infer['pictures']} by {infer['runtime']}"),
        ("speed", f"{infer['images_per_second']:.0f} pictures/s"),
    ]


def page(job: str, summary: Sequence[str], facts: Mapping[str, Mapping[str, Any]], sheet: bytes) -> str:
    """The HTML page."""
    cells = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td><code>{html.escape(value)}</code></td></tr>"
        for name, value in rows(job, facts)
    )
    mistakes = len(facts["infer"]["mistakes"])
    image = base64.b64encode(sheet).decode()
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(job)}</title><style>{STYLE}</style></head>
<body><h1>{html.escape(job)}: from training to a verified model</h1>
<table>{cells}</table>
<p>Test pictures, those that the model gets wrong first ({mistakes} in all):</p>
<img alt="Test pictures and what the model takes them for" src="data:image/png;base64,{image}">
</body></html>
"""
