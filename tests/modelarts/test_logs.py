"""A log is aligned with what was handed on of it, wherever it is read and whatever became of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.modelarts.logs import END_MARK, Position, WorkerLog, new_lines, stalled
from storage.filesystem import FileSystemStorage

LINES = st.lists(st.integers(0, 3), max_size=30)


@given(LINES, LINES)
def test_a_log_that_grew_goes_on_where_it_was(seen: list[int], more: list[int]) -> None:
    found = new_lines(seen, seen + more, False)
    assert found == (len(seen), len(seen))


@given(LINES, st.integers(0, 30))
def test_an_older_view_has_nothing_new(seen: list[int], size: int) -> None:
    view = seen[:size]
    assert new_lines(seen, view, False) in (None, (len(seen), len(seen)))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 10))
def test_a_log_that_lost_its_beginning_is_continued(lost: int, known: int, more: int) -> None:
    """Lines that differ from each other leave no doubt."""
    log = list(range(lost + known + more))
    seen = log[: lost + known]
    found = new_lines(seen, log[lost:], False)
    assert found is not None and log[lost:][found[0] :] == log[lost + known :]


def test_a_log_that_began_anew_is_new() -> None:
    assert new_lines([1, 2, 3], [7, 8], False) == (0, 3)


def test_a_line_that_was_cut_is_told_whole() -> None:
    assert new_lines([1, 2, 9], [1, 2, 3, 4], False) == (2, 2)


class Nothing:
    """A client of a region that has no AOM, and a job that has no preview."""

    class wire:  # noqa: N801
        @staticmethod
        def now() -> float:
            return 1e12

    def lines(self, *_: object) -> None:
        return None

    def preview(self, *_: object) -> None:
        return None


def follow_object(storage: FileSystemStorage, versions: list[bytes]) -> bytes:
    """What a reader of the object alone is given, over versions of it."""
    log = WorkerLog(Nothing(), "j", "worker-0", storage, "log/x.log")  # type: ignore[arg-type]
    position, text = Position(), b""
    position.source = "obs"
    for version in versions:
        storage.write("log/x.log", version)
        while piece := log.read(position):
            text += piece
    position.until = 1e-9  # long ago
    while piece := log.read(position, ended=1.0):
        text += piece
    return text


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([b"a\n", b"b\n", b"\n", "你好\n".encode(), b"\xff\xfe\n", b"tail"]), max_size=25),
    st.data(),
)
def test_an_object_that_is_rewritten_and_shrinks_gives_each_line_once(pieces: list[bytes], data: st.DataObject) -> None:
    import tempfile

    whole = b"".join(pieces)
    sizes = data.draw(st.lists(st.integers(0, len(whole)), max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        storage = FileSystemStorage(folder, "bucket")
        assert follow_object(storage, [*(whole[:size] for size in sizes), whole]) == whole


def test_what_was_rotated_away_is_read_first(tmp_path) -> None:
    storage = FileSystemStorage(tmp_path / "b", "bucket")
    log = WorkerLog(Nothing(), "j", "worker-0", storage, "log/x.log")  # type: ignore[arg-type]
    position = Position()
    position.source = "obs"
    storage.write("log/x.log", b"one\ntwo\n")
    assert log.read(position) == b"one\ntwo\n"
    storage.write("log/x.log.1", b"one\ntwo\nthree\n")
    storage.write("log/x.log", b"four\n")
    assert log.read(position) == b"three\nfour\n"
    storage.write("log/x.log", b"four\nfive\n")
    assert log.read(position) == b"five\n"


def test_an_object_that_was_not_rewritten_since_it_was_rotated_away_is_not_read_twice(tmp_path) -> None:
    storage = FileSystemStorage(tmp_path / "b", "bucket")
    storage.write("log/x.log.1", b"one\ntwo\n")
    storage.write("log/x.log", b"one\n")
    log = WorkerLog(Nothing(), "j", "worker-0", storage, "log/x.log")  # type: ignore[arg-type]
    position = Position()
    assert log.read(position) == b"one\ntwo\n"
    storage.write("log/x.log", b"three\n")
    assert log.read(position) == b"three\n"


def test_the_end_is_known_by_the_platforms_line() -> None:
    for line in (
        b"[Modelarts Service Log]Training end with return code: 0",
        b"x [ModelArts Service Log] return code 7",
    ):
        assert END_MARK.search(b"before\n" + line + b"\nafter\n")
    assert not END_MARK.search(b"return code: 0\n")


def test_a_run_that_uses_nothing_is_stalled() -> None:
    idle = [{"metric": "npuUtil", "value": [50.0] + [0.0] * 12}, {"metric": "cpuUsage", "value": [-1, 0.5]}]
    assert stalled(idle, 10) == "npuUtil 0 %, cpuUsage 0 %"
    assert stalled([{"metric": "npuUtil", "value": [0, 40]}], 10) == ""
    assert stalled([], 10) == "" and stalled([{"metric": "npuUtil", "value": [-1]}], 10) == ""


def test_a_line_longer_than_one_read_comes_whole(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("launcher.modelarts.logs.PIECE", 16)
    storage = FileSystemStorage(tmp_path / "b", "bucket")
    whole = b"short\n" + b"x" * 300 + b"\nend\nrest"
    assert follow_object(storage, [whole]) == whole


def test_the_mark_of_an_earlier_attempt_ends_nothing() -> None:
    position = Position()
    position.take([b"one", b"[Modelarts Service Log]Training end with return code: 1"])
    assert position.marked
    position.take([b"two"])
    assert not position.marked
    position.take([b"[ModelArts Service Log] return code 0", b"[ModelArts Service Log] uploading"])
    assert position.marked
