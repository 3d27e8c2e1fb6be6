"""ModelArts' REST API on the loopback, with training jobs that really run.

::

    server        everything together: `Emulator`
    app           the ASGI application: who asks, which fault, which route
    http          requests, replies, the table of routes
    signature     SDK-HMAC-SHA256
    jobs searches logs history tags catalogue_routes account iam switchboard     the routes
    checks echo   what create refuses, and the job object that replies have
    catalogue     the region's flavors, engines and pool
    lifecycle     the thread that moves jobs through their phases
    runner        jobs as processes, by the local target's own runner
    objects       the object store as the platform sees it
    state         SQLite
    faults        the switchboard
    background    started, asked after and stopped from a command line

Nothing here was compared with the real service: the sources are Huawei's public documents and SDKs, each named where a
fact comes from. Where they are in conflict or silent, `Settings` or a fault plays each reading.
"""

from __future__ import annotations

from .server import Emulator
from .settings import Settings

__all__ = ["Emulator", "Settings"]
