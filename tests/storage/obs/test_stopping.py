"""Whoever waits to try again hears that nobody wants it any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage.errors import NotFound, Unreachable
from storage.files import SourceFile
from storage.obs import ObsService, ObsSettings, multipart
from storage.obs.lanes import Lanes
from storage.parallel import Crew, Pace
from storage.retry import WAITS, Transient, patiently

LONG = 100.0
SOON = 20.0
"""Seconds within which even a busy machine has stopped a thread that hears; one that does not takes LONG."""


def fail() -> None:
    raise Transient(Unreachable("busy"), asked=LONG)


def wait_here() -> None:
    patiently(fail)


def wait_in_a_lane() -> None:
    Lanes().start(wait_here).result()


def is_waiting() -> bool:
    return any(wait.why == "busy" for wait in list(WAITS.values()))


@pytest.mark.parametrize("wait", [wait_here, wait_in_a_lane])
def test_a_crew_that_stops_waits_for_no_other_try(wait: Callable[[], None]) -> None:
    crew = Crew(2)
    raised: list[BaseException] = []

    def act(item: int) -> None:
        if item:
            wait()
        while not is_waiting():
            time.sleep(0.01)
        raise NotFound("the error that counts")

    def run() -> None:
        try:
            crew.run(act, [0, 1], Pace(2, first=2))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SOON)
    assert not thread.is_alive()
    assert [type(error) for error in raised] == [NotFound]
    assert not is_waiting()


def test_nothing_is_tried_again_after_the_stop() -> None:
    tries: list[int] = []
    crew = Crew(1)

    def act(_: int) -> None:
        def once() -> None:
            tries.append(1)
            crew.stop()
            raise Transient(Unreachable("busy"), free=True)

        patiently(once)

    crew.run(act, [1])
    assert tries == [1]


def test_a_broken_upload_waits_for_all_its_parts_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class Stuck:
        def settle(self, seconds: float) -> bool:
            nonlocal now
            now += seconds
            return False

        def is_done(self) -> bool:
            return False

    monkeypatch.setattr(multipart, "time", SimpleNamespace(monotonic=lambda: now), raising=False)
    monkeypatch.setenv("LAUNCHER_STATE", str(tmp_path / "state"))
    (tmp_path / "file").write_bytes(b"x")
    service = ObsService(ObsSettings(endpoint="http://127.0.0.1:9", access_key="a", secret_key="b"))
    with SourceFile(tmp_path / "file") as source:
        upload = multipart._Upload(service.bucket("bucket"), source, "key", "", None)
        upload._tasks = [(number, 1, Stuck()) for number in range(8)]  # type: ignore[misc]
        upload.stop(False)
    assert now == multipart._SETTLE_SECONDS
