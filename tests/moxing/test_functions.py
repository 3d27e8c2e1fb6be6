"""What each function of `moxing.file` does, on a local bucket and on OBS; the facts are those of its documents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.moxing.emulation import SITE, emulated_moxing

URL = "obs://bkt"


@pytest.fixture
def tree(mox):
    for name in ("a/file", "a/b/deep", "a/b/数据.txt", "top.txt"):
        mox.write(f"{URL}/{name}", name)
    return mox


@pytest.mark.parametrize(
    ("url", "recursive", "gone"),
    [
        ("top.txt", False, ["top.txt"]),
        ("top.txt", True, ["top.txt"]),
        ("top.txt/", False, []),
        ("top.txt/", True, []),
        ("a", False, []),
        ("a/", False, []),
        ("a/b", True, ["a/b/deep", "a/b/数据.txt"]),
        ("a/", True, ["a/b/deep", "a/b/数据.txt", "a/file"]),
        ("none", False, []),
        ("none/", True, []),
        ("", False, []),
    ],
)
def test_remove_has_the_real_ones_traps(tree, url, recursive, gone):
    def files():
        return set(tree.list_directory(URL, recursive=True, skip_dir=True))

    before = files()
    assert tree.remove(f"{URL}/{url}", recursive=recursive) is None
    assert sorted(before - files()) == gone


def test_a_whole_bucket_is_never_removed(tree):
    with pytest.raises(ValueError, match="whole bucket"):
        tree.remove(URL, recursive=True)
    assert tree.exists(f"{URL}/top.txt")


def test_both_schemes_and_doubled_slashes_name_the_same(tree):
    for url in ("s3://bkt/a/file", "obs://bkt//a//file", "S3://bkt/a/file"):
        assert tree.read(url) == "a/file"


def test_looking(tree):
    assert tree.exists(f"{URL}/a") and tree.exists(f"{URL}/a/") and tree.exists(f"{URL}/a/file")
    assert not tree.exists(f"{URL}/a/fil") and not tree.exists(f"{URL}/a/file/") and not tree.exists(f"{URL}/none")
    assert tree.is_directory(f"{URL}/a/b") and not tree.is_directory(f"{URL}/a/file")
    assert tree.list_directory(f"{URL}/a") == ["b", "file"]
    assert tree.list_directory(f"{URL}/a", remove_sep=False) == ["b/", "file"]
    assert sorted(tree.list_directory(f"{URL}/a/", recursive=True)) == ["b", "b/deep", "b/数据.txt", "file"]
    assert tree.list_directory(URL, skip_dir=True) == ["top.txt"]
    assert tree.list_directory(URL, skip_file=True) == ["a"]
    assert tree.glob("s3://bkt/a/b/*.txt") == ["s3://bkt/a/b/数据.txt"]
    assert tree.glob(f"{URL}/*") == [f"{URL}/a", f"{URL}/top.txt"]
    assert tree.glob(f"{URL}/?/[b]/deep") == [f"{URL}/a/b/deep"] and tree.glob(f"{URL}/none*") == []
    assert list(tree.walk(f"{URL}/")) == [
        (URL, ["a"], ["top.txt"]),
        (f"{URL}/a", ["b"], ["file"]),
        (f"{URL}/a/b", [], ["deep", "数据.txt"]),
    ]
    assert list(tree.walk(f"{URL}/none")) == []
    entries = {entry.name: entry for entry in tree.scan_dir(f"{URL}/a")}
    assert entries["b"].is_dir() and entries["file"].is_file()
    assert entries["file"].path == f"{URL}/a/file" and entries["file"].stat().length == 6


def test_stat_and_sizes(tree, tmp_path):
    found = tree.stat(f"{URL}/a/file")
    assert (found.length, found.is_directory) == (6, False) and found.mtime_nsec > 1.6e18
    assert tree.stat(f"{URL}/a").is_directory
    assert tree.get_size(f"{URL}/a/file") == 6
    assert tree.get_size(f"{URL}/a") == tree.get_size(f"{URL}/a/") == 0
    assert tree.get_size(f"{URL}/a", recursive=True) == 6 + 8 + len("a/b/数据.txt".encode())
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "here" / "deep" / "x").write_bytes(b"12345")
    assert tree.get_size(str(tmp_path / "here")) == 5
    assert tree.stat(str(tmp_path / "here" / "deep" / "x")).length == 5


@pytest.mark.parametrize("what", ["stat", "get_size", "list_directory", "read", "scan_dir", "File"])
@pytest.mark.parametrize("where", ["obs://bkt/none", "{tmp}/none"])
def test_what_is_not_there_is_told(mox, tmp_path, what, where):
    """`scan_dir` and `list_directory` of a local path are Python's own."""
    with pytest.raises(FileNotFoundError) as caught:
        getattr(mox, what)(where.format(tmp=tmp_path))
    if where.startswith("obs"):
        assert isinstance(caught.value, mox.MoxFileNotExistsException)
        assert caught.value.resp.status == 404 and "stat:404 errorCode:NoSuchKey" in str(caught.value)


def test_folders(mox):
    with pytest.raises(OSError, match="above"):
        mox.mk_dir(f"{URL}/x/y")
    assert not mox.exists(f"{URL}/x")
    mox.mk_dir(f"{URL}/x")
    mox.mk_dir(f"{URL}/x/y")
    mox.make_dirs(f"{URL}/p/q/r/")
    mox.make_dirs(f"{URL}/p/q/r")
    assert mox.is_directory(f"{URL}/p/q") and mox.is_directory(f"{URL}/p/q/r")
    assert sorted(mox.list_directory(URL, recursive=True)) == ["p", "p/q", "p/q/r", "x", "x/y"]
    mox.write(f"{URL}/p/q/r/file", "1")
    assert mox.list_directory(f"{URL}/p/q/r") == ["file"]
    mox.remove(f"{URL}/p", recursive=True)
    mox.remove(f"{URL}/x", recursive=True)
    assert mox.list_directory(URL) == []


def test_copy_takes_single_files_only(tree, tmp_path):
    for source, target in (
        (f"{URL}/a/file", f"{tmp_path}/new/file"),
        (f"{tmp_path}/new/file", f"{tmp_path}/again"),
        (f"{tmp_path}/again", f"{URL}/up/file"),
        (f"{URL}/up/file", f"{URL}/up/second"),
    ):
        assert tree.copy(source, target) is None
        assert tree.read(target) == "a/file"
    for source, target in (
        (f"{URL}/a", f"{tmp_path}/x"),
        (f"{URL}/top.txt", f"{URL}/up/"),
        (str(tmp_path), f"{URL}/x"),
    ):
        with pytest.raises(IsADirectoryError):
            tree.copy(source, target)
    with pytest.raises(tree.MoxFileNotExistsException):
        tree.copy(f"{URL}/none", f"{tmp_path}/x")
    with pytest.raises(tree.MoxFileNotExistsException):
        tree.copy(f"{tmp_path}/none", f"{URL}/x")
    assert not (tmp_path / "x").exists() and not tree.exists(f"{URL}/x")


def test_copy_parallel_merges_trees_anywhere(tree, tmp_path, capfd):
    tree.make_dirs(f"{URL}/a/hollow")
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "kept").write_bytes(b"kept")
    assert tree.copy_parallel(f"{URL}/a", str(tmp_path / "down")) is None
    assert (tmp_path / "down" / "b" / "deep").read_text() == "a/b/deep"
    assert (tmp_path / "down" / "kept").read_bytes() == b"kept" and (tmp_path / "down" / "hollow").is_dir()
    tree.copy_parallel(str(tmp_path / "down"), f"{URL}/up/", threads=0, is_processing=False, use_queue=False)
    tree.copy_parallel(f"{URL}/up", "s3://bkt/twice")
    assert sorted(tree.list_directory(f"{URL}/twice", recursive=True)) == [
        "b", "b/deep", "b/数据.txt", "file", "hollow", "kept",
    ]  # fmt: skip
    tree.copy_parallel(f"{URL}/a", f"{tmp_path}/some", file_list=["file", "b/deep"])
    assert sorted(path.name for path in (tmp_path / "some").rglob("*") if path.is_file()) == ["deep", "file"]
    assert "No files to copy" not in capfd.readouterr().err


def test_copy_parallel_takes_one_file_too(tree, tmp_path):
    tree.copy_parallel(f"{URL}/top.txt", f"{tmp_path}/one.txt")
    assert (tmp_path / "one.txt").read_text() == "top.txt"
    tree.copy_parallel(f"{tmp_path}/one.txt", f"{URL}/a/")
    assert tree.read(f"{URL}/a/one.txt") == "top.txt"


def test_an_empty_source_is_said_and_a_missing_one_raises(tree, tmp_path, capfd):
    (tmp_path / "hollow").mkdir()
    tree.copy_parallel(str(tmp_path / "hollow"), f"{URL}/hollow")
    assert "No files to copy" in capfd.readouterr().err
    assert tree.is_directory(f"{URL}/hollow")
    for source in (f"{URL}/none", str(tmp_path / "none")):
        with pytest.raises(tree.MoxFileNotExistsException, match="No files to copy"):
            tree.copy_parallel(source, f"{tmp_path}/x")


def test_rename_moves_between_all_places(tree, tmp_path):
    tree.rename(f"{URL}/top.txt", f"{tmp_path}/top.txt")
    tree.rename(f"{tmp_path}/top.txt", f"{URL}/back.txt")
    tree.rename(f"{URL}/a", f"{URL}/moved")
    assert not tree.exists(f"{URL}/a") and not tree.exists(f"{URL}/top.txt") and not (tmp_path / "top.txt").exists()
    assert tree.read(f"{URL}/moved/b/deep") == "a/b/deep" and tree.read(f"{URL}/back.txt") == "top.txt"
    with pytest.raises(ValueError, match="itself"):
        tree.rename(f"{URL}/moved", f"{URL}/moved/deeper")
    with pytest.raises(tree.MoxFileNotExistsException):
        tree.rename(f"{URL}/none", f"{URL}/x")


def test_whole_files_as_values(mox):
    mox.write(f"{URL}/x", "字")
    mox.append(f"{URL}/x", "母")
    mox.append(f"{URL}/x", b"\n", binary=True)
    mox.append(f"{URL}/fresh", "1")
    assert mox.read(f"{URL}/x") == "字母\n" and mox.read(f"{URL}/x", binary=True) == "字母\n".encode()
    mox.append_remote(f"{URL}/fresh", f"{URL}/x")
    assert mox.read(f"{URL}/x") == "字母\n1"
    with pytest.raises(ValueError, match="two objects"):
        mox.append_remote("/etc/hostname", f"{URL}/x")


def test_a_file_is_visible_when_flushed_or_closed(mox):
    file = mox.File(f"{URL}/log", "w")
    file.write("one\n")
    assert not mox.exists(f"{URL}/log")
    file.flush()
    assert mox.read(f"{URL}/log") == "one\n"
    file.writelines(["two\n", "three"])
    assert mox.read(f"{URL}/log") == "one\n"
    file.close()
    file.close()
    assert mox.read(f"{URL}/log") == "one\ntwo\nthree" and file.closed


@pytest.mark.parametrize("end", ["", "b"])
def test_the_modes_of_file(mox, tmp_path, end):
    def data(text):
        return text.encode() if end else text

    for url in (f"{URL}/f", str(tmp_path / "f")):
        for mode in ("r", "r+"):
            with pytest.raises(mox.MoxFileNotExistsException):
                mox.File(url, mode + end)
        with mox.File(url, "w" + end) as file:
            file.write(data("first\nsecond\n"))
            assert file.size() == 13 and file.tell() == 13
        with mox.File(url, "r" + end) as file:
            assert (file.readline(), file.read(3), file.readlines()) == (data("first\n"), data("sec"), [data("ond\n")])
            file.seek(0)
            assert list(file) == [data("first\n"), data("second\n")]
        with mox.File(url, "a" + end) as file:
            file.write(data("third"))
        with mox.File(url, "r+" + end) as file:
            file.write(data("FIRST"))
            file.seek(0)
            assert file.read() == data("FIRST\nsecond\nthird")
        with mox.File(url, "a+" + end) as file:
            file.seek(0)
            assert file.read(5) == data("FIRST")
            file.write(data("!"))
        assert mox.read(url) == "FIRST\nsecond\nthird!"
        with mox.File(url, "w+" + end) as file:
            file.write(data("new"))
            file.seek(0)
            assert file.read() == data("new")
        with mox.File(url, "w" + end):
            pass
        assert mox.read(url) == ""
    with pytest.raises(ValueError, match="mode"):
        mox.File(f"{URL}/f", "x")


def test_shift_and_back(tree, tmp_path):
    plain, real = open, os.listdir
    tree.shift("os", "mox")
    try:
        tree.shift("os", "mox")
        with open(f"{URL}/made.json", "w") as file:
            json.dump([1], file)
        assert os.path.isfile(f"{URL}/made.json") and os.path.getsize(f"{URL}/made.json") == 3
        assert os.stat(f"{URL}/made.json").st_size == 3 and os.path.isdir(f"{URL}/a")
        assert sorted(os.listdir(f"{URL}/a")) == ["b", "file"]
        with os.scandir(f"{URL}/a") as entries:
            assert {entry.name for entry in entries} == {"b", "file"}
        with pytest.raises(FileExistsError):
            os.makedirs(f"{URL}/a")
        os.makedirs(f"{URL}/a", exist_ok=True)
        for path in (f"{URL}/none", str(tmp_path / "none")):
            with pytest.raises(FileNotFoundError):
                os.remove(path)
            with pytest.raises(FileNotFoundError), open(path):
                pass
        os.makedirs(tmp_path / "local")
        assert os.listdir(str(tmp_path / "local")) == [] and os.listdir(tmp_path / "local") == []
    finally:
        tree.shift("mox", "os")
    assert open is plain and os.listdir is real
    with pytest.raises(ValueError, match="shift"):
        tree.shift("os", "tf")


def test_a_name_that_is_a_file_and_a_folder_cannot_come_down(tmp_path, monkeypatch):
    """No server here holds both, so the bucket is made up."""
    from storage import ObjectInfo

    errors = emulated_moxing()._house.storage("errors")

    class Both:
        def list(self, prefix):
            return iter([ObjectInfo(key, 1, 1.0) for key in ("dup/a", "dup/a/b", "dup/c") if key.startswith(prefix)])

        def stat(self, key):
            raise errors.NotFound(key)

    file = emulated_moxing().file
    monkeypatch.setitem(file.stat.__globals__["tree_of"].__globals__, "open_storage", lambda name: Both())
    monkeypatch.setitem(file.copy_parallel.__globals__, "copy_file", lambda *_: pytest.fail("copied"))
    with pytest.raises(file.MoxFileNameDuplicateException, match="dup/a is"):
        file.copy_parallel(f"{URL}/dup/", str(tmp_path / "down"))
    assert not (tmp_path / "down").exists()


def test_names_that_could_climb_out_are_refused(mox, tmp_path):
    for url in (f"{URL}/../x", f"{URL}/a/../../x", "obs://../x", "obs://UPPER/x", ""):
        with pytest.raises(ValueError):
            mox.write(url, "x")
    assert not (tmp_path / "x").exists()


def test_a_dangling_link_is_an_error_and_nothing_half_done_is_visible(mox, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError):
        mox.copy_parallel(str(tmp_path / "tree"), f"{URL}/tree")
    assert mox.list_directory(URL, recursive=True, skip_dir=True) == []


def test_appends_of_two_processes_are_all_there(tmp_path, local_buckets):
    code = "import moxing, sys\nfor n in range(50): moxing.file.append('obs://bkt/log', sys.argv[1] + '\\n')"
    env = {**os.environ, "PYTHONPATH": str(SITE)}
    running = [subprocess.Popen([sys.executable, "-c", code, word], env=env) for word in "ab"]
    assert [process.wait() for process in running] == [0, 0]
    assert sorted((Path(local_buckets) / "bkt" / "log").read_text().split()) == ["a"] * 50 + ["b"] * 50
