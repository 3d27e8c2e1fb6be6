"""Routes of what the region has: flavors, engines, pools."""

from __future__ import annotations

from . import catalogue
from .errors import ApiError
from .house import House
from .http import Reply, Request, Route

PROJECT = "/v2/{project_id}"


def routes(house: House) -> list[Route]:
    """See the module."""
    return [
        Route("GET", PROJECT + "/training-job-flavors", "show_training_job_flavors", _flavors),
        Route("GET", PROJECT + "/training-job-engines", "show_training_job_engines", _engines),
        Route("GET", PROJECT + "/training-pool-flavors", "show_training_flavor_max_available_resource", _capacity),
        Route("GET", PROJECT + "/pools", "list_pools", _pools),
    ]


def _flavors(request: Request) -> Reply:
    kind = request.argument("flavor_type")
    if kind.lower() not in ("", "cpu", "gpu", "ascend"):
        raise ApiError("ModelArts.2764", f"Invalid query parameter (flavor_type: {kind}).")
    return Reply(catalogue.flavors_reply(kind))


def _engines(request: Request) -> Reply:
    return Reply(catalogue.engines_reply())


def _capacity(request: Request) -> Reply:
    """The largest share of a pool's node that a job may have."""
    pool, flavor = request.argument("pool_id"), request.argument("flavor_id")
    if pool != catalogue.POOL:
        raise ApiError("ModelArts.2890", f"Pool {pool} does not exist.")
    cards = catalogue.POOL_FLAVORS.get(flavor)
    if cards is None:
        raise ApiError("ModelArts.2781", f"Flavor (ID: {flavor}) not found.")
    return Reply({"cpu_core_num": 24 * cards, "mem_size": 96 * cards})


def _pools(request: Request) -> Reply:
    return Reply(catalogue.pools_reply(request.argument("workspaceId", "0")))
