"""Parts of large objects where the machine has no threads or no memory left."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from storage.obs import ObsStorage
from storage.obs.channel import BYTES_IN_FLIGHT
from storage.obs.lanes import Lanes
from tests.storage.obs.conftest import Place


@pytest.fixture(params=[0, 1, 3])
def most(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Threads that lanes may have."""
    started = 0

    class Scarce(threading.Thread):
        def start(self) -> None:
            nonlocal started
            if started == request.param:
                raise RuntimeError("can't start new thread")
            started += 1
            super().start()

    class Threading:
        Thread = Scarce
        Lock = threading.Lock
        Event = threading.Event

    monkeypatch.setattr("storage.obs.lanes.threading", Threading)
    return int(request.param)


def test_lanes_do_all_with_the_threads_that_there_are(most: int) -> None:
    lanes = Lanes()
    tasks = [lanes.start(threading.get_ident) for _ in range(20)]
    found = {task.result() for task in tasks}
    assert len(found) <= max(1, most)
    assert (threading.get_ident() in found) == (most == 0)


def test_what_a_task_raises_is_raised_by_its_result_and_not_by_its_start(most: int) -> None:
    task = Lanes().start(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        task.result()


def test_large_objects_go_up_and_down_with_the_threads_that_there_are(
    place: Place, tmp_path: Path, large: Path, most: int
) -> None:
    bucket = place.bucket
    for _ in range(2):
        bucket.upload(large, "large")
        bucket.download("large", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large.read_bytes()
    assert is_whole(bucket)


def test_what_cannot_be_started_gives_its_memory_back(
    place: Place, tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = place.bucket
    bucket.upload(large, "large")

    def fail(*_: Any) -> Any:
        raise MemoryError

    for what in (bucket.channel.lanes, "start"), (bucket.channel.buffers, "take"):
        with monkeypatch.context() as patch:
            patch.setattr(*what, fail)
            with pytest.raises(MemoryError):
                bucket.upload(large, "again")
            with pytest.raises(MemoryError):
                bucket.download("large", tmp_path / "out")
        assert is_whole(bucket)


def is_whole(bucket: ObsStorage) -> bool:
    """Whether nobody holds any of the memory for bodies."""
    budget = bucket.channel.budget
    taken = budget.try_take(BYTES_IN_FLIGHT)
    budget.give(taken)
    return taken == BYTES_IN_FLIGHT
