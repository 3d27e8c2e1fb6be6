"""A YAML file read into a frozen struct; what is wrong is named with its line, its key and the nearest right one.

The scalars are YAML 1.2's: ``1e-2`` is a number, ``no`` is a word, ``010`` is ten, ``1:30`` and ``2026-01-01`` are
text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

import msgspec
import yaml

from launcher.errors import SpecError, nearest

MAX_BYTES = 1 << 20
T = TypeVar("T")
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """YAML 1.2's core scalars on PyYAML's parser."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


_SCALARS = (
    ("null", r"(?:~|null|Null|NULL|)", "~nN\0"),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))", "-+."),
    ("merge", r"<<", "<"),
)
for _tag, _pattern, _first in _SCALARS:
    _initials = ["" if c == "\0" else c for c in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _initials)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))


def load(path: Path, struct: type[T]) -> T:
    """Read ``path`` as a ``struct``; raises SpecError, whose message begins with ``path:line:``."""
    shown = _shown(path)
    try:
        with open(path, "rb") as stream:
            text = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"{shown}: {error.strerror}", f"ls -l {shown}") from None
    if len(text) > MAX_BYTES:
        raise SpecError(f"{shown}: larger than 1 MiB, so not a file of settings", f"ls -l {shown}")
    try:
        data, lines = _parse(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{shown}:{line}: not YAML: {error.problem or error.context}", "mend that line") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SpecError(f"{shown}:1: not YAML: {reason}", f"save {shown} as UTF-8 text") from None
    try:
        return msgspec.convert({} if data is None else data, struct)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _explain(str(error), shown, struct, lines) from None


def scalar(text: str) -> Any:
    """One value as YAML would read it: ``--set lr=1e-2`` and ``lr: 1e-2`` mean the same."""
    try:
        value = yaml.load(text, Loader=_Loader)  # a subclass of the safe loader
    except (yaml.YAMLError, ValueError):
        return text
    return value if isinstance(value, (str, int, float, bool, type(None))) else text


def _parse(text: bytes) -> tuple[Any, dict[str, int]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[str, int] = {"$": 1}
        if node is None:
            return None, lines
        _note_lines(node, "$", lines, set())
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def _note_lines(node: yaml.Node, path: str, lines: dict[str, int], seen: set[int]) -> None:
    """The line of every key, by the path that msgspec gives in its messages; a key given twice is an error."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in keys:
                raise yaml.MarkedYAMLError(problem=f"key {name!r} is given twice", problem_mark=key.start_mark)
            keys.add(name)
            lines[f"{path}.{name}"] = key.start_mark.line + 1
            _note_lines(value, f"{path}.{name}", lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[f"{path}[{index}]"] = value.start_mark.line + 1
            _note_lines(value, f"{path}[{index}]", lines, seen)


def _explain(message: str, shown: str, struct: type, lines: dict[str, int]) -> SpecError:
    """msgspec's ``Expected `int`, got `str` - at `$.resources.nodes``` in our words, with the line."""
    found = re.search(r" - at (?:key in )?`([^`]*)`$", message)
    path = found.group(1) if found else "$"
    text = message[: found.start()] if found else message
    key = path[2:]
    line = max(next(lines[p] for p in _prefixes(path) if p in lines), _named_line(text, path, lines))
    unknown = re.match(r"Object contains unknown field `(.*)`", text)
    if unknown:
        name = unknown.group(1)
        known = _fields(struct, key)
        line = lines.get(f"{path}.{name}", line)
        where = f" in {key}" if key else ""
        return SpecError(f"{shown}:{line}: unknown key {name!r}{where}", nearest(name, known))
    missing = re.match(r"Object missing required field `(.*)`", text)
    if missing:
        return SpecError(f"{shown}:{line}: the key {missing.group(1)!r} is missing", f"add {missing.group(1)}: …")
    hint = "docs/job-yaml.md lists every key with its type"
    text = text.replace("`null`", "nothing").replace("`object`", "a mapping").replace("`", "")
    return SpecError(f"{shown}:{line}: {key + ': ' if key else ''}{text[0].lower() + text[1:]}", hint)


def _named_line(text: str, path: str, lines: dict[str, int]) -> int:
    """A check of our own says ``boot_file: …`` or ``parameter 'x' …``: the line of the key that it names."""
    for word in re.findall(r"\w[\w.-]*", text):
        for place, line in lines.items():
            if place.startswith(path) and place.endswith("." + word):
                return line
    return 1


def _prefixes(path: str) -> list[str]:
    """``$.a.b[0]`` -> itself, ``$.a.b``, ``$.a``, ``$``: the nearest place whose line is known."""
    found = [path]
    while len(path) > 1:
        path = re.sub(r"(\.[^.\[\]]*|\[[^\]]*\])$", "", path) if re.search(r"[.\[]", path) else "$"
        found.append(path)
        if path == "$":
            break
    return found


def _fields(struct: type, key: str) -> list[str]:
    """The keys that the mapping at ``key`` may have."""
    current: Any = struct
    for part in [p for p in key.split(".") if p]:
        hint = get_type_hints(current).get(part)
        options = [hint, *get_args(hint)]
        current = next((o for o in options if isinstance(o, type) and issubclass(o, msgspec.Struct)), None)
        if current is None:
            return []
    return [field.encode_name for field in msgspec.structs.fields(current)]


def _shown(path: Path) -> str:
    """The path as the user would type it: relative where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
