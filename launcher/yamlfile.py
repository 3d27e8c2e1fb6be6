"""A YAML file read into a frozen struct; what is wrong is named with its line, its key and the nearest right one.

The scalars are YAML 1.2's: ``1e-2`` is a number, ``no`` is a word, ``010`` is ten, ``1:30`` and ``2026-01-01`` are
text.
"""

from __future__ import annotations

import os
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml

from launcher.errors import SpecError, nearest

MAX_BYTES = 1 << 20
MAX_DIGITS = 300
"""Of a whole number: what is longer fits no computer's float, and Python refuses to read it from some length on."""
T = TypeVar("T")
KeyPath = tuple[str | int, ...]
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


class _BadValue(yaml.MarkedYAMLError):
    """A scalar that is YAML, but nothing that a setting can be; ``place`` is its key."""

    def __init__(self, problem: str, hint: str, mark: Any, place: str = "") -> None:
        super().__init__(problem=problem, problem_mark=mark)
        self.hint, self.place, self.line = hint, place, mark.line + 1


def _guarded(construct: Callable[[Any, Any], Any], kind: str) -> Callable[[Any, Any], Any]:
    """A tag that stands before the wrong text (``!!bool x``) is an error at its line, not PyYAML's KeyError."""

    def constructed(loader: Any, node: Any) -> Any:
        _check_scalar(node, "")
        try:
            return construct(loader, node)
        except (ValueError, LookupError, AttributeError, TypeError):
            raise _BadValue(f"{str(node.value)[:40]!r} is no {kind}", "leave the !! tag out", node.start_mark) from None

    return constructed


_CONSTRUCTORS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "int": ("whole number", lambda loader, node: int(loader.construct_scalar(node))),
    "float": ("number", _Loader.construct_yaml_float),
    "bool": ("true or false", _Loader.construct_yaml_bool),
    "timestamp": ("date", _Loader.construct_yaml_timestamp),
}
for _tag, (_kind, _construct) in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _guarded(_construct, _kind))


def place(*parts: object) -> str:
    """The path of a key as messages show it, ``code.include[0]``; a check that raises ValueError begins with one."""
    shown = ""
    for part in parts:
        shown += f"[{part}]" if isinstance(part, int) else f".{_printable(str(part))}"
    return shown.removeprefix(".")


def unwritable(text: str) -> str:
    """Why ``text`` can be no argument, no variable and no file's content; empty if it can."""
    if "\0" in text:
        return "has a NUL character in it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is no valid Unicode text"
    return ""


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
    except _BadValue as error:
        where = f"{error.place}: " if error.place else ""
        raise SpecError(f"{shown}:{error.line}: {where}{error.problem}", error.hint) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{shown}:{line}: not YAML: {error.problem or error.context}", "mend that line") from None
    except RecursionError:
        raise SpecError(f"{shown}:1: not YAML: nested too deeply", "take brackets away") from None
    except (yaml.YAMLError, ValueError) as error:
        offset = getattr(error, "position", None) or getattr(error, "start", None) or 0
        line = text[:offset].count(b"\n") + 1
        reason = getattr(error, "reason", None) or str(error)
        raise SpecError(f"{shown}:{line}: not YAML: {reason}", f"save {shown} as UTF-8 text") from None
    data = {} if data is None else data
    try:
        return msgspec.convert(data, struct)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _explain(error, shown, data, struct, lines) from None


def scalar(text: str) -> Any:
    """One value as YAML would read it: ``--set lr=1e-2`` and ``lr: 1e-2`` mean the same."""
    try:
        value = yaml.load(text, Loader=_Loader)  # a subclass of the safe loader
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    return value if isinstance(value, (str, int, float, bool, type(None))) else text


def _parse(text: bytes) -> tuple[Any, dict[str, int]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[str, int] = {"": 1}
        if node is None:
            return None, lines
        _note_lines(loader, node, (), lines, set())
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def _note_lines(loader: Any, node: yaml.Node, path: KeyPath, lines: dict[str, int], seen: set[int]) -> None:
    """The line of every key and item, by its ``place``; a key given twice and text that is none are errors."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in sorted(node.value, key=_is_merge):
            name = str(key.value)
            _check_scalar(key, place(*path, name))
            if name in keys:
                raise yaml.MarkedYAMLError(problem=f"key {name!r} is given twice", problem_mark=key.start_mark)
            keys.add(name)
            if _is_merge((key, value)):  # its keys stand here, after those that the mapping itself has
                _note_lines(loader, value, path, lines, seen)
                continue
            names = [name]
            if isinstance(key, yaml.ScalarNode):
                names.append(str(loader.construct_object(key)))  # ``~`` is None, ``010`` is 10
            for each in names:
                lines.setdefault(place(*path, each), key.start_mark.line + 1)
            _check_scalar(value, place(*path, name))
            _note_lines(loader, value, (*path, names[-1]), lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines.setdefault(place(*path, index), value.start_mark.line + 1)
            _check_scalar(value, place(*path, index))
            _note_lines(loader, value, (*path, index), lines, seen)


def _is_merge(item: tuple[yaml.Node, yaml.Node]) -> bool:
    return item[0].tag == "tag:yaml.org,2002:merge"


def _check_scalar(node: yaml.Node, where: str) -> None:
    if not isinstance(node, yaml.ScalarNode):
        return
    where = where if len(where) <= 80 else ""
    digits = len(node.value.lstrip("+-"))
    if node.tag == "tag:yaml.org,2002:int" and digits > MAX_DIGITS:
        problem = f"too long a number: {digits} digits"
        raise _BadValue(problem, f"a whole number has at most {MAX_DIGITS} digits", node.start_mark, where)
    problem = unwritable(node.value)
    if problem:
        raise _BadValue(f"the text {problem}", "take the escape (\\0, \\x00, \\ud800 …) out", node.start_mark, where)


def _explain(error: Exception, shown: str, data: Any, struct: type, lines: dict[str, int]) -> SpecError:
    """msgspec's ``Expected `int`, got `str` - at `$.resources.nodes``` in our words, with the line."""
    hint = "docs/job-yaml.md lists every key with its type"
    if isinstance(error.__cause__, ValueError):  # a check of our own, which begins with the key's place
        text = str(error.__cause__)
        named = max((key for key in lines if text.startswith((f"{key}: ", f"{key}.", f"{key}["))), key=len, default="")
        return SpecError(f"{shown}:{lines[named]}: {text}", hint)
    text, path, value, kind = _locate(str(error), data, struct)
    key = place(*path)
    line = next(lines[p] for p in (place(*path[:n]) for n in range(len(path), -1, -1)) if p in lines)
    unknown = re.match(r"Object contains unknown field `(.*)`", text, re.DOTALL)
    if unknown:
        name = unknown.group(1)
        where = f" in {key}" if key else ""
        known = [field.encode_name for option in _options(kind) for field in _fields(option)]
        line = lines.get(place(*path, name), line)
        return SpecError(f"{shown}:{line}: unknown key {name!r}{where}", nearest(name, known))
    missing = re.match(r"Object missing required field `(.*)`", text)
    if missing:
        return SpecError(f"{shown}:{line}: the key {missing.group(1)!r} is missing", f"add {missing.group(1)}: …")
    allowed = [str(each) for option in _options(kind) if get_origin(option) is Literal for each in get_args(option)]
    if allowed:
        text = f"{_short(value)} is none of the allowed values: {', '.join(allowed)}"
        hint = nearest(str(value).lower() if str(value).lower() in allowed else str(value)[:100], allowed)
    elif re.match(r"Expected `str( \| null)?`, got `(int|float|bool)`", text):
        hint = "put the value in quotes"
    text = text.replace("`null`", "nothing").replace("`object`", "a mapping").replace("`", "")
    return SpecError(f"{shown}:{line}: {key + ': ' if key else ''}{text[0].lower() + text[1:]}", hint)


def _locate(message: str, data: Any, kind: Any) -> tuple[str, KeyPath, Any, Any]:
    """What msgspec says, and the path, the value and the type it says it of; ``[...]`` is looked for in the value."""
    found = re.search(r" - at (`key` in )?`\$([^`]*)`$", message)
    if not found:
        return message, (), data, kind
    path: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", found.group(2)):
        inner = [inside for option in _options(kind) for inside in _inside(option, name)]
        if name:
            key: Any = name
        elif index == "...":
            key = next((k for k, v in data.items() if not any(_fits(v, each[1]) for each in inner)), None)
        else:
            key = int(index)
        try:
            data = data[key]
        except (LookupError, TypeError):
            break
        path.append(key if isinstance(key, int) and isinstance(index, str) and index.isdigit() else str(key))
        kind = inner[0][1] if inner else Any
    if found.group(1):
        wrong = next((key for key in data if not isinstance(key, str)), None)
        return f"the key {_short(wrong)} must be text", (*path, str(wrong)), wrong, Any
    return message[: found.start()], tuple(path), data, kind


def _options(kind: Any) -> list[Any]:
    """The types that a value may have: ``Annotated`` and unions taken apart."""
    if get_origin(kind) is Annotated:
        return _options(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return [option for each in get_args(kind) for option in _options(each)]
    return [kind]


def _inside(kind: Any, name: str) -> list[tuple[Any, Any]]:
    """What is inside a value of type ``kind``, as (type of the key, type of the value)."""
    if name:
        return [(str, get_type_hints(kind, include_extras=True)[name])] if _fields(kind) else []
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return [(arguments[0], arguments[1])]
    return [(int, arguments[0])] if get_origin(kind) is list else []


def _fields(kind: Any) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


def _short(value: object) -> str:
    """The user's own value, but no page of it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode("ascii")


def _shown(path: Path) -> str:
    """The path as the user would type it: relative where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
