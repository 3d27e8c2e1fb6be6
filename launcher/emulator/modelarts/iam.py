"""As much of IAM as a client of ModelArts needs: a region's project, tokens, temporary keys.

Source: IAM's API reference as the SDK and the OTC API reference ("Authentication") use it.
"""

from __future__ import annotations

import json
import secrets
import time
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

from .checks import mapping
from .errors import ApiError
from .house import DOMAIN_ID, TOKEN_SECONDS, USER_ID, House
from .http import Reply, Request, Route


def routes(house: House) -> list[Route]:
    """See the module."""
    own = _Iam(house)
    return [
        Route("GET", "/v3/projects", "keystone_list_projects", own.projects),
        Route("GET", "/v3/auth/projects", "keystone_list_auth_projects", own.projects),
        Route("POST", "/v3/auth/tokens", "keystone_create_token", own.token, open=True),
        Route("POST", "/v3.0/OS-CREDENTIAL/securitytokens", "create_temporary_access_key", own.keys),
    ]


def check_token(house: House, token: str) -> None:
    """401 ModelArts.0203 for a token that was not given here, or is over."""
    expires = house.state.note("tokens", {}).get(token)
    if expires is None:
        raise ApiError("APIGW.0301", "Incorrect IAM authentication information: decrypt token fail")
    if expires < house.now():
        raise ApiError("ModelArts.0203", "The token has expired.")


class _Iam:
    def __init__(self, house: House) -> None:
        self.house = house

    def projects(self, request: Request) -> Reply:
        """The one project, which has the region's name; none for another region."""
        wanted = request.argument("name")
        known = wanted in ("", self.house.settings.region)
        return Reply({"projects": [self._project()] if known else [], "links": {"next": None, "previous": None}})

    def token(self, request: Request) -> Reply:
        """201, and the token in X-Subject-Token; for a name and a password, or for another token."""
        auth = mapping(request.object(), "auth", required=True)
        identity = mapping(auth, "identity", required=True)
        methods = identity.get("methods") or []
        if methods == ["token"]:
            given = mapping(identity, "token").get("id") or request.headers.get("x-auth-token", "")
            check_token(self.house, str(given))
        elif methods == ["password"]:
            self._check_password(mapping(mapping(identity, "password"), "user"))
        else:
            raise _IamError(400, "Request parameter 'methods' is invalid.")
        scope = mapping(mapping(auth, "scope"), "project")
        account, region = self.house.account, self.house.settings.region
        if scope and (scope.get("id", account.project_id), scope.get("name", region)) != (account.project_id, region):
            raise _IamError(401, "The project does not exist or the user has no access to it.")
        token, expires = secrets.token_urlsafe(96), self.house.now() + TOKEN_SECONDS
        with self.house.state.together():
            valid = {key: end for key, end in self.house.state.note("tokens", {}).items() if end > time.time()}
            self.house.state.keep("tokens", {**valid, token: expires})
        body = {
            "methods": methods,
            "issued_at": _time(self.house.now()),
            "expires_at": _time(expires),
            "user": {"name": account.user, "id": USER_ID, "domain": {"name": account.domain, "id": DOMAIN_ID}},
            "project": self._project() if scope else None,
            "roles": [{"name": "te_admin", "id": "0"}],
            "catalog": [],
        }
        return Reply({"token": body}, 201, {"X-Subject-Token": token})

    def keys(self, request: Request) -> Reply:
        """Temporary keys for whoever asks with a token or keys; good for ModelArts and for the object store."""
        identity = mapping(mapping(request.object(), "auth", required=True), "identity", required=True)
        wanted = mapping(identity, "token").get("duration_seconds", 900)
        if not isinstance(wanted, int) or not 900 <= wanted <= 86400:
            raise _IamError(400, "Request parameter 'duration_seconds' is invalid.")
        access, secret, token = self.house.objects.lend(wanted)
        expires = self.house.now() + wanted
        with self.house.state.together():
            kept = self.house.state.note("temporary", {})
            known = {key: found for key, found in kept.items() if found[2] > time.time()}
            self.house.state.keep("temporary", {**known, access: [secret, token, expires]})
        found = {"access": access, "secret": secret, "securitytoken": token, "expires_at": _time(expires)}
        return Reply({"credential": found}, 201)

    def _check_password(self, user: dict[str, Any]) -> None:
        account = self.house.account
        named = mapping(user, "domain").get("name") == account.domain and user.get("name") == account.user
        if not named or user.get("password") != account.password:
            raise _IamError(401, "The username or password is wrong.")

    def _project(self) -> dict[str, Any]:
        return {
            "id": self.house.account.project_id,
            "name": self.house.settings.region,
            "domain_id": DOMAIN_ID,
            "parent_id": DOMAIN_ID,
            "is_domain": False,
            "enabled": True,
            "description": "",
        }


class _IamError(ApiError):
    """A refusal as IAM words it: `{"error": {"code": 401, "message": …, "title": "Unauthorized"}}`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__("", message, status=status)

    def body(self, request_id: str) -> bytes:
        title = HTTPStatus(self.status).phrase
        return json.dumps({"error": {"code": self.status, "message": self.message, "title": title}}).encode()


def _time(seconds: float) -> str:
    """`2026-03-01T02:15:00.000000Z`."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
