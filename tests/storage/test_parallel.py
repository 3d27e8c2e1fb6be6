"""How many threads a crew has, told by clocks that the tests turn; and how it stops."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from storage import parallel
from storage.parallel import BULK, LOOK_SECONDS, REST_LOOKS, Crew, Pace, Wanted


class Machine:
    """A pace with clocks of its own, looked at once a second."""

    def __init__(self, limit: int, cores: int = 2) -> None:
        self.wall = self.cpu = 0.0
        self.items = self.bytes = 0
        self.workers = 1
        self.pace = Pace(limit, lambda: self.wall, lambda: self.cpu, cores)

    def second(self, busy: float, items: float = 0, moved: float = 0) -> int:
        """The workers after a second with so much CPU, so many items and so many bytes."""
        self.wall += 1
        self.cpu += busy
        self.items += int(items)
        self.bytes += int(moved)
        self.workers = self.pace.look(self.workers, self.items, self.bytes)
        return self.workers


def test_a_crew_that_waits_grows_to_its_limit() -> None:
    machine = Machine(200)
    counts = [machine.second(0.001 * machine.workers, items=50 * machine.workers) for _ in range(9)]
    assert counts == [4, 4, 16, 16, 64, 64, 200, 200, 200]


def test_a_crew_that_keeps_a_core_busy_stays_as_it_is() -> None:
    machine = Machine(200)
    assert {machine.second(0.95, items=10_000, moved=30e6) for _ in range(50)} == {1}


def test_a_crew_that_is_half_busy_grows_by_what_is_missing() -> None:
    machine = Machine(200)
    machine.workers = 10
    assert machine.second(0.3, items=100) == 20


def test_bulk_work_takes_the_other_cores_too() -> None:
    machine = Machine(200, cores=4)
    counts = [
        machine.second(0.85 * min(4, machine.workers), 20 * machine.workers, BULK * machine.workers) for _ in range(20)
    ]
    assert counts == sorted(counts) and counts[-1] == 4


def test_threads_that_do_not_help_go_again_and_no_more_come_for_a_while() -> None:
    """Somebody else keeps the machine busy: this process gets half a core, however many threads it has."""
    machine = Machine(200)
    counts = [machine.second(0.5, items=1000) for _ in range(REST_LOOKS + 3)]
    assert counts == [2, 2] + [1] * (REST_LOOKS + 1)
    assert machine.second(0.5, items=1000) == 2


def test_a_few_more_threads_are_not_worth_a_try() -> None:
    machine = Machine(200)
    machine.workers = 100
    assert machine.second(0.55, items=1000) == 100


def test_a_crew_begins_bulk_work_with_several_threads() -> None:
    crew = Crew(100)
    assert crew.pace_for([3000] * 5).first == crew.pace_for([]).first == 1
    assert crew.pace_for([1 << 20] * 5).first > 1
    assert Crew(1).pace_for([1 << 20]).first == 1


def test_too_early_a_look_changes_nothing() -> None:
    machine = Machine(200)
    machine.wall = LOOK_SECONDS * 0.9
    assert machine.pace.look(1, 100, 0) == 1
    machine.wall = LOOK_SECONDS * 1.1
    assert machine.pace.look(1, 100, 0) == 4


class Eager(Pace):
    """Wants all threads at the first look."""

    def look(self, workers: int, items: int, count: int) -> int:
        return self.limit


def test_threads_that_the_pace_asks_for_work_at_the_same_time() -> None:
    everybody = threading.Barrier(7)
    Crew(7).run(lambda _: everybody.wait(20), range(14), Eager(7))


class Fickle(Pace):
    """Wants all threads at the first look, and one from the second look on."""

    looks = 0

    def look(self, workers: int, items: int, count: int) -> int:
        self.looks += 1
        return self.limit if self.looks == 1 else 1


def test_threads_that_are_too_many_leave_and_the_work_is_done() -> None:
    alive: list[int] = []
    before = threading.active_count()

    def work(item: int) -> None:
        time.sleep(LOOK_SECONDS / 5)
        if item == 99:
            alive.append(threading.active_count() - before)

    Crew(8).run(work, range(100), Fickle(8))
    assert alive == [1]


def test_what_was_begun_in_the_background_is_there_when_it_is_asked_for() -> None:
    gate = threading.Event()
    result = parallel.in_background(lambda: gate.wait(20))
    gate.set()
    assert result() and result()
    broken = parallel.in_background(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            broken()


def test_no_more_threads_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()

    def work(_: int) -> None:
        seen.add(threading.get_ident())
        time.sleep(LOOK_SECONDS / 5)

    Crew(3).run(work, range(60), Eager(3))
    assert len(seen) == 3


def test_a_system_that_allows_no_more_threads_is_worked_with(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    started: list[Any] = []

    def limited(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    done: list[int] = []
    together = threading.Barrier(2)

    def work(item: int) -> None:
        if item < 2:
            together.wait(20)
        done.append(item)

    monkeypatch.setattr(parallel.threading.Thread, "start", limited)
    Crew(50).run(work, range(100), Eager(50))
    assert sorted(done) == list(range(100)) and len(started) == 2


def test_an_error_of_the_items_is_raised_too() -> None:
    def items() -> Any:
        yield 1
        raise ValueError("listing failed")

    done: list[int] = []
    with pytest.raises(ValueError, match="listing failed"):
        Crew(4).run(done.append, items())
    assert done == [1]


def test_one_crew_works_through_one_list_after_another() -> None:
    crew, done = Crew(2), []
    for part in (range(5), range(5, 9), range(0)):
        crew.run(done.append, part)
    assert sorted(done) == list(range(9))


def test_what_a_helper_puts_aside_is_done_here_however_early_it_has_taken_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crew, done = Crew(4), []
    start = Crew._start

    def patient(crew: Crew, work: Any) -> bool:
        begun = start(crew, work)
        crew._threads[0].join()
        return begun

    def helper() -> None:
        taken.extend(item for item, _ in crew.take(10, lambda item: item if item % 2 else None))

    taken: list[int] = []
    monkeypatch.setattr(Crew, "_start", patient)
    crew.run(done.append, range(9), helpers=[helper])
    assert (taken, done) == ([1, 3, 5, 7], [0, 2, 4, 6, 8])


def test_standing_in_line_for_a_core_is_not_waiting_for_the_store(tmp_path: Path) -> None:
    def stands(thread: str, seconds: float) -> None:
        (tmp_path / thread).mkdir(exist_ok=True)
        (tmp_path / thread / "schedstat").write_text(f"12345 {int(seconds * 1e9)} 7\n")

    wanted = Wanted(str(tmp_path))
    before = wanted()
    stands("1", 100)
    stands("2", 50)
    assert 150 <= wanted() - before < 200
    stands("1", 300)
    shutil.rmtree(tmp_path / "2")  # it has ended: what it stood still counts
    assert 350 <= wanted() - before < 400
    for number in range(Wanted.MOST):
        stands(str(1000 + number), 1000)
    assert wanted() - before < 400
    assert Wanted(str(tmp_path / "nowhere"))() <= time.process_time()
