"""Requests and replies as the routes see them, and the table that finds a route."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from .errors import ApiError

DEEPEST = 100
"""Levels of a body's JSON; what is deeper could not be told again in every reply."""


@dataclass
class Request:
    """One request, read whole."""

    method: str
    raw_path: str
    """Percent-encoded, as it came."""
    raw_query: str
    headers: dict[str, str]
    """By small names."""
    body: bytes
    id: str
    project: str = ""
    """Of the path, where it has one."""
    user: str = ""
    words: dict[str, str] = field(default_factory=dict)
    """What the route's `{name}`s stand for."""

    @property
    def path(self) -> str:
        return unquote(self.raw_path)

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.raw_query, keep_blank_values=True)

    def argument(self, name: str, default: str = "") -> str:
        """A query argument; `default` where it is absent or empty."""
        return next((value for key, value in self.query if key == name and value), default)

    def number(self, name: str, default: int, least: int = 0, most: int = 1 << 62) -> int:
        """A query argument that is a number: 400 ModelArts.2764 if it is none, or out of bounds."""
        text = self.argument(name)
        if not text:
            return default
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ApiError("ModelArts.2764", f"Invalid query parameter ({name}: {text}).")
        return int(text)

    def json(self) -> Any:
        """The body, which must be JSON that can be told again (no NaN, no half characters): else 400 ModelArts.2787."""
        try:
            found = json.loads(self.body)
            json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
            if _depth(found) <= DEEPEST:
                return found
        except (ValueError, RecursionError):
            pass
        raise ApiError("ModelArts.2787", "The request body is not valid JSON.")

    def object(self, required: bool = True) -> dict[str, Any]:
        """The body as a JSON object; an empty one may stand for an empty object (the SDK sends that for a search)."""
        if not self.body.strip() and not required:
            return {}
        found = self.json()
        if not isinstance(found, dict):
            raise ApiError("ModelArts.2787", "The request body is no JSON object.")
        return found


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


@dataclass
class Reply:
    """What is answered. A body of bytes goes out as it is, None as nothing, anything else as JSON."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def bytes(self) -> bytes:
        """The body as it goes over the wire."""
        if self.body is None or self.status == 204:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


Handler = Callable[[Request], Reply]


@dataclass(frozen=True)
class Route:
    """A method and a path; `name` is the official SDK's method of it, by which faults are aimed."""

    method: str
    path: str
    name: str
    handler: Handler
    open: bool = False
    """It needs no credentials."""

    def match(self, path: str) -> dict[str, str] | None:
        """What the path's `{words}` are in `path`, if it fits."""
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None


class Routes:
    """All routes; more literal ones win over those with words in the same place."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = sorted(routes, key=lambda route: [part.startswith("{") for part in route.path.split("/")])
        self._by_length: dict[int, list[Route]] = {}
        for route in self._routes:
            self._by_length.setdefault(route.path.count("/"), []).append(route)

    def __iter__(self) -> Any:
        return iter(self._routes)

    def find(self, request: Request) -> Route:
        """The route of a request: 404 APIGW.0101 when nothing has that path, 405 when not with that method."""
        path, other = request.path.rstrip("/"), False
        for route in self._by_length.get(path.count("/"), ()):
            words = route.match(path)
            if words is None:
                continue
            if route.method == request.method:
                request.words = words
                return route
            other = True
        if other:
            raise ApiError("ModelArts.2803", f"Method {request.method} is not allowed for {path}.")
        raise ApiError("APIGW.0101", "The API does not exist or has not been published in the environment")
