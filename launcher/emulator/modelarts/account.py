"""Routes of the account: quotas, workspaces, and what ModelArts may do in its name."""

from __future__ import annotations

from .checks import items, number, text
from .errors import ApiError
from .house import QUOTAS, USER_ID, House
from .http import Reply, Request, Route


def routes(house: House) -> list[Route]:
    """See the module."""
    own = _Account(house)
    return [
        Route("GET", "/v2/{project_id}/training-quotas", "show_training_quotas", own.show),
        Route("PUT", "/v2/{project_id}/training-quotas", "modify_training_quotas", own.change),
        Route("GET", "/v1/{project_id}/quotas", "show_os_quota", own.service),
        Route("GET", "/v2/{project_id}/authorizations", "get_authorizations", own.authorizations),
        Route("GET", "/v1/{project_id}/workspaces", "list_workspace", own.workspaces),
        Route("GET", "/v1/{project_id}/workspaces/{workspace_id}", "show_workspace", own.workspace),
    ]


class _Account:
    def __init__(self, house: House) -> None:
        self.house, self.state = house, house.state

    def show(self, request: Request) -> Reply:
        wanted = request.argument("resource")
        if wanted and wanted not in QUOTAS:
            raise ApiError("ModelArts.2764", f"Invalid query parameter (resource: {wanted}).")
        found = [
            {"resource": name, "quota": limit, "used": self._used(name)}
            for name, limit in self.house.quotas().items()
            if wanted in ("", name)
        ]
        return Reply({"quotas": found})

    def change(self, request: Request) -> Reply:
        body = request.object()
        text(body, "user_id", required=True)
        limits = dict(self.state.note("quotas", {}))
        for quota in items(body, "quotas"):
            name = text(quota, "resource", required=True)
            if name not in QUOTAS:
                raise ApiError("ModelArts.2788", f"Invalid parameter (resource: {name}).")
            limits[name] = number(quota, "quota", 0, 0)
        self.state.keep("quotas", limits)
        return Reply({})

    def service(self, request: Request) -> Reply:
        limits = {"trainingJob": (self.house.quotas()["job-num"], self.state.count()), "notebook": (10, 0)}
        found = [{"type": name, "quota": quota, "used": used} for name, (quota, used) in limits.items()]
        return Reply({"quotas": {"resources": found}})

    def authorizations(self, request: Request) -> Reply:
        """The agency by which ModelArts acts for the user; none with the fault `no-agency`."""
        account = self.house.account
        agency = {
            "user_id": USER_ID,
            "type": "agency",
            "content": f"ma_agency_{account.user}",
            "secret_key": "",
            "user_name": account.user,
            "create_time": 1735689600000,
        }
        found = [] if self.house.faults.find("no-agency") else [agency]
        return Reply({"total_count": len(found), "auth": found})

    def workspaces(self, request: Request) -> Reply:
        return Reply({"total_count": 1, "count": 1, "workspaces": [self._workspace()]})

    def workspace(self, request: Request) -> Reply:
        if request.words["workspace_id"] != "0":
            raise ApiError("ModelArts.2788", f"Invalid parameter (workspace_id: {request.words['workspace_id']}).")
        return Reply(self._workspace())

    def _used(self, name: str) -> int:
        return self.state.count() if name == "job-num" else 0

    def _workspace(self) -> dict[str, object]:
        return {
            "id": "0",
            "name": "default",
            "description": "",
            "owner": self.house.account.user,
            "create_time": 1735689600000,
            "update_time": 1735689600000,
            "auth_type": "public",
            "enterprise_project_id": "0",
            "enterprise_project_name": "default",
            "status": "NORMAL",
            "status_info": "",
            "grants": [],
        }
