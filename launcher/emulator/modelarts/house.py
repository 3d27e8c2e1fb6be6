"""What the routes share: the state, the object store, the runner, the faults, and who may ask."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .faults import Faults
from .lifecycle import Lifecycle
from .objects import Objects
from .runner import Runner
from .settings import Settings
from .state import State

QUOTAS = {"job-num": 10000, "visual-job-num": 1000, "job-retention-enabled": 1, "job-num-quota-notify": 1}
"""What a project has by default: 10,000 jobs (OTC user manual)."""
Say = Callable[[str], None]
"""Where lines for whoever watches the emulator go."""
USER_ID, DOMAIN_ID = "u" * 32, "d" * 32
TOKEN_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Account:
    """The one user of the emulated cloud: made at a state folder's first start, and kept there."""

    access_key: str
    secret_key: str
    project_id: str
    domain: str
    user: str
    password: str

    @classmethod
    def of(cls, state: State) -> Account:
        """The state's account; a new one has throw-away keys."""
        found = state.note("account")
        if found is None:
            found = {
                "access_key": "EMU" + secrets.token_hex(9).upper()[:17],
                "secret_key": secrets.token_urlsafe(30)[:40].replace("-", "x").replace("_", "y"),
                "project_id": secrets.token_hex(16),
                "domain": "emulated-account",
                "user": "trainer",
                "password": secrets.token_urlsafe(12),
            }
            state.keep("account", found)
        return cls(**found)


@dataclass
class House:
    """See the module. The thread that serves requests and the lifecycle's own both use it."""

    settings: Settings
    account: Account
    state: State
    objects: Objects
    runner: Runner
    faults: Faults
    lifecycle: Lifecycle

    def quotas(self) -> dict[str, int]:
        """resource -> limit."""
        return {**QUOTAS, **self.state.note("quotas", {})}

    def now(self) -> float:
        """The service's clock, POSIX seconds; a fault can set it wrong."""
        skew = self.faults.find("clock-skew")
        return time.time() + (skew.number("seconds", 3600) if skew else 0.0)

    def secrets(self) -> dict[str, tuple[str, str]]:
        """Access key -> (secret key, security token) of everyone whose requests are served."""
        found = {self.account.access_key: (self.account.secret_key, "")}
        for key, (secret, token, expires) in self.state.note("temporary", {}).items():
            if expires > self.now():
                found[key] = (secret, token)
        return found

    def change(self, values: dict[str, Any]) -> None:
        """Set settings while running; ValueError names one that cannot be."""
        self.settings = self.settings.changed(values)
        self.lifecycle.settings = self.runner.settings = self.settings
