"""The ASGI application: reads a request, asks who sends it, meets the faults, finds the route, answers, and says so."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any

from . import account, catalogue_routes, history, iam, jobs, logs, searches, switchboard, tags
from .errors import ApiError
from .faults import REPLIES, Fault
from .house import House, Say
from .http import Reply, Request, Route, Routes
from .signature import refused, verify

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LARGEST_BODY = 12 << 20
"""API Gateway's user guide, "Error Codes": APIG.0201."""
HTML = b"<html><head><title>Sign in</title></head><body>Please sign in to the proxy.</body></html>"
_GATEWAY = "<html><head><title>{0} {1}</title></head><body><center><h1>{0} {1}</h1></center></body></html>"
_REASONS = {502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}
_DONE_FIRST = ("done-reset", "done-504", "done-html", "cut", "reset-body", "slow")
"""Faults that happen after what was asked has been done."""


class App:
    """See the module. `transports` are the open connections by the client's address, for those to be reset; `say` gets
    a line for each request."""

    def __init__(self, house: House, transports: MutableMapping[tuple[str, int], Any], say: Say) -> None:
        self.house, self.transports, self.say = house, transports, say
        modules = (jobs, searches, logs, history, catalogue_routes, tags, account, iam)
        table = [route for module in modules for route in module.routes(house)]
        self.names = {route.name for route in table}
        """Routes that a fault can be aimed at."""
        self.routes = Routes([*table, *switchboard.routes(house, self.names)])
        self._buckets: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.monotonic()
        try:
            body = await _body(receive)
        except ConnectionError:  # half a request is none
            return
        request = Request(
            method=scope["method"],
            raw_path=scope["raw_path"].decode("latin-1"),
            raw_query=scope["query_string"].decode("latin-1"),
            headers={name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in scope["headers"]},
            body=body[:LARGEST_BODY],
            id=secrets.token_hex(16),
        )
        if len(body) > LARGEST_BODY:
            reply, fault, name = self._refusal(ApiError("APIGW.0201", "Request entity too large"), request), None, "?"
        else:
            reply, fault, name = await asyncio.to_thread(self._answer, request)
        await self._send(scope, receive, send, request, reply, fault)
        took = f"{(time.monotonic() - began) * 1000:.0f} ms"
        what = f" [{fault.fault}]" if fault else ""
        self.say(f"{time.strftime('%H:%M:%S')} {request.method} {request.raw_path} {name}: {reply.status}{what} {took}")

    def _answer(self, request: Request) -> tuple[Reply, Fault | None, str]:
        """The reply, the fault that it meets, and the route's name."""
        name, fault = "?", None
        try:
            route = self.routes.find(request)
            name = route.name
            fault = None if name.startswith("_") else self.house.faults.draw_any(REPLIES, name)
            if fault is not None and fault.fault not in _DONE_FIRST:
                return self._spoilt(fault, request), fault, name
            reply = self._handle(route, request)
        except ApiError as error:
            reply = self._refusal(error, request)
        except Exception as error:
            self.say(traceback.format_exc())
            reply = self._refusal(ApiError("ModelArts.0010", f"Internal error: {error!r}"), request)
        if fault is not None and fault.fault in ("done-504", "done-html"):
            reply = self._spoilt(fault, request)
        return reply, fault, name

    def _handle(self, route: Route, request: Request) -> Reply:
        if not route.open:
            self._authenticate(request)
            self._limit(request)
        request.project = request.words.get("project_id", "")
        if request.project and request.project != self.house.account.project_id:
            raise ApiError("ModelArts.0210", "The project ID in the URL is different from that of the token.")
        return route.handler(request)

    def _authenticate(self, request: Request) -> None:
        """A token or a signature; `user` is who it belongs to. 401 without either."""
        token = request.headers.get("x-auth-token")
        if token:
            iam.check_token(self.house, token)
        elif request.headers.get("authorization"):
            verify(request, self.house.secrets(), self.house.now())
        else:
            raise refused("Get secretKey failed, no credentials were sent")
        request.user = self.house.account.user

    def _limit(self, request: Request) -> None:
        """A bucket of tokens for everyone who asks: so many a second, twice as many at once."""
        rate = self.house.settings.rate
        if not rate:
            return
        who, now = request.user, time.monotonic()
        level, before = self._buckets.get(who, (2 * rate, now))
        level = min(2 * rate, level + (now - before) * rate)
        self._buckets[who] = (max(0.0, level - 1), now)
        if level < 1:
            raise ApiError("ModelArts.2799", "Too many requests, please try again later.")

    def _refusal(self, error: ApiError, request: Request) -> Reply:
        headers = {"Content-Type": "application/json"}
        if error.status == 429:
            headers["Retry-After"] = "1"
        return Reply(error.body(request.id), error.status, headers)

    def _spoilt(self, fault: Fault, request: Request) -> Reply:
        """The reply that a fault puts in the place of the right one."""
        kind = fault.fault
        if kind in ("429", "gateway-429"):
            code = "ModelArts.2799" if kind == "429" else "APIGW.0308"
            reply = self._refusal(ApiError(code, "Too many requests, please try again later."), request)
            reply.headers["Retry-After"] = f"{fault.number('retry_after', 1):g}"
            return reply
        known = {
            "500": ("ModelArts.0010", "Internal error."),
            "expired-token": ("ModelArts.0203", "The token has expired."),
            "quota": ("ModelArts.2815", "The quota of resource job-num is exceeded."),
            "agency": ("ModelArts.2785", "The ModelArts agency authorization is not configured."),
            "forbidden": ("ModelArts.0108", "You are not authorized to perform this operation."),
            "arrears": ("ModelArts.2837", "The account is restricted or frozen."),
        }
        if kind in known:
            status = 403 if kind == "forbidden" else 0
            return self._refusal(ApiError(*known[kind], status=status), request)
        if kind == "error":
            code = str(fault.details.get("code", "ModelArts.0010"))
            message = str(fault.details.get("message", "A fault that was asked for."))
            return self._refusal(ApiError(code, message, status=int(fault.number("status", 0))), request)
        if kind in ("502", "503", "504", "done-504"):
            status = int(kind[-3:])
            page = _GATEWAY.format(status, _REASONS[status]).encode()
            return Reply(page, status, {"Content-Type": "text/html"})
        if kind in ("html", "done-html"):
            return Reply(HTML, 200, {"Content-Type": "text/html; charset=utf-8"})
        if kind == "redirect":
            return Reply(b"", 302, {"Location": "/login"})
        if kind == "not-json":
            return Reply(b'{"metadata": {"id": "', 200, {"Content-Type": "application/json"})
        return Reply(None, 204 if kind == "no-content" else 200)

    async def _send(
        self, scope: Scope, receive: Receive, send: Send, request: Request, reply: Reply, fault: Fault | None
    ) -> None:
        kind = fault.fault if fault else ""
        if fault and kind in ("slow", "silent"):
            await asyncio.sleep(fault.number("seconds", 1 if kind == "slow" else 60))
        if kind in ("reset", "done-reset", "silent"):
            await self._reset(scope, receive)
            return
        body = reply.bytes()
        headers = {"Content-Type": "application/json", "X-Request-Id": request.id, **reply.headers}
        headers["Date"] = formatdate(self.house.now(), usegmt=True)
        if reply.status != 204:
            headers["Content-Length"] = str(len(body))
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": pairs})
        if fault and kind in ("cut", "reset-body") and body:
            part = body[: max(0, min(len(body) - 1, int(fault.number("bytes", len(body) // 2))))]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await self._reset(scope, receive, gently=kind == "cut")
            return
        await send({"type": "http.response.body", "body": body})

    async def _reset(self, scope: Scope, receive: Receive, gently: bool = False) -> None:
        """End the connection: at once and with a reset, or `gently`, when what was written has gone out."""
        transport = self.transports.get(tuple(scope["client"]))
        if transport is not None:
            if gently:
                transport.close()
            else:
                linger = struct.pack("ii", 1, 0)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


async def _body(receive: Receive) -> bytes:
    """The request's body, of one that is too large not all; ConnectionError when the rest never comes."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        part = message.get("body", b"")
        if size <= LARGEST_BODY:
            parts.append(part)
        size += len(part)
        more = message.get("more_body", False)
    return b"".join(parts)
