"""Very many small files as shards: the same tree at both ends, whatever happens in between."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage import Storage, packing
from storage.errors import Conflict, Corrupt, NotFound, SourceChanged, StorageFull, UnsafeKey
from storage.filesystem import FileSystemStorage
from storage.manifest import Entry, HashCache, Manifest, committed, manifest_key, scan
from storage.packing import ALONE, MANY, SMALL, find_index, index_key, lay_out, read_packed, shard_key
from storage.transfer import TransferResult, download_tree, send_tree, upload_tree

Plant = Callable[..., Path]

ODD = {
    "empty": b"",
    "a b": b"1",
    '"quoted"': b"22",
    "数据/文件.jpg": "文".encode() * 500,
    "deep/" * 30 + "file": b"over a hundred bytes of name",
    "x" * 100: b"exactly a hundred",
    "y" * 101: b"one more",
    "block": b"b" * 512,
    "small": b"s" * SMALL,
}
TREE = {**ODD, **{f"class-{index % 7}/{index:05}.bin": b"%d" % index * 40 for index in range(MANY)}}
LARGE = {"large": b"L" * (SMALL + 1), "class-3/large": b"M" * 300_000}
ALL = {**TREE, **LARGE}
SIZE = sum(map(len, ALL.values()))
PREFIX = "data/set"


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def objects(storage: Storage, prefix: str = PREFIX + "/") -> dict[str, bytes]:
    found = {}
    for info in storage.list(prefix):
        with storage.read(info.key) as stream:
            found[info.key[len(prefix) :]] = stream.read()
    return found


@pytest.fixture
def tree(plant: Plant, tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", ALL)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where shards are built; several of them, since they are small here."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(packing, "SHARD", 300_000)
    return folder


def test_a_packed_tree_goes_up_and_comes_down_the_same(
    storage: Storage, tree: Path, tmp_path: Path, temporary: Path
) -> None:
    up: list[int] = []
    down: list[int] = []
    manifest = scan(tree)
    result = upload_tree(tree, storage, PREFIX, manifest, progress=up.append, pack=True)
    assert result == TransferResult(len(ALL), SIZE, 0, len(ALL), SIZE)
    index = find_index(storage, PREFIX)
    assert index is not None and index.manifest == manifest and len(index.shards) > 1
    names = {f".shards/{shard.name}" for shard in index.shards} | {".shards/index.json"}
    assert set(objects(storage)) == names | set(LARGE)
    result = download_tree(storage, PREFIX, tmp_path / "copy", progress=down.append)
    assert result == TransferResult(len(ALL), SIZE, 0, len(ALL), SIZE)
    assert contents(tmp_path / "copy") == ALL
    assert sum(up) == sum(down) == SIZE
    assert list(temporary.glob(".launcher~*")) == []


def test_one_pass_commits_the_very_same_objects(storage: Storage, tree: Path, tmp_path: Path) -> None:
    manifest = scan(tree)
    upload_tree(tree, storage, "two", manifest, pack=True)
    for path in tree.rglob("*"):
        os.utime(path, (1e9, 1e9))
    with HashCache(tmp_path / "hashes") as cache:
        assert send_tree(tree, storage, "one", cache, pack=True)[0] == manifest
        assert committed(storage, "one") == committed(storage, "two") == manifest.to_json()
        assert objects(storage, "one/") == objects(storage, "two/")
        assert all(cache.get(path, path.stat()) for path in tree.rglob("*") if path.is_file())
    again = send_tree(tree, storage, "one", pack=True)
    assert again == (manifest, TransferResult(len(ALL), SIZE, len(ALL), 0, 0))


def test_any_tar_reads_a_shard(storage: Storage, tree: Path) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    found = {}
    for key, data in objects(storage).items():
        if key.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
                for member in archive:
                    stream = archive.extractfile(member)
                    assert stream is not None and member.mode == 0o644
                    found[member.name] = stream.read()
    assert found == TREE


def test_what_is_packed_is_decided_by_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [(f"{index:05}", 10) for index in range(MANY - 1)]
    assert set(lay_out(few)) == {ALONE}
    assert set(lay_out([*few, ("z", SMALL + 1)])) == {ALONE}
    monkeypatch.setattr(packing, "SHARD", 1 << 20)
    assert lay_out([*few, ("z", SMALL), ("zz", SMALL + 1)]) == [0] * MANY + [ALONE]
    assert set(lay_out([(".shards/x", 1), *few, ("z", 1)])) == {ALONE}, "that name is taken"
    assert packing.counts(Manifest(Entry.of(path, b"") for path, _ in few)) is None
    sizes = [2 << 10] * 2000  # 5 blocks each: 5.12 MB in 4 shards
    numbers = lay_out((f"{index:05}", size) for index, size in enumerate(sizes))
    assert numbers == sorted(numbers)
    shares = [numbers.count(number) for number in range(4)]
    assert sum(shares) == 2000 and max(shares) - min(shares) <= 1
    assert packing.counts(Manifest(Entry.of(f"{index:05}", b"x" * 2048) for index in range(2000))) == {
        "files": 2000,
        "shards": 4,
    }


def test_a_tree_that_is_not_worth_it_is_not_packed(storage: Storage, plant: Plant, tmp_path: Path) -> None:
    files = {f"{index}": b"x" for index in range(20)}
    tree = plant(tmp_path / "few", files)
    send_tree(tree, storage, "one", pack=True)
    upload_tree(tree, storage, "two", scan(tree), pack=True)
    assert objects(storage, "one/") == objects(storage, "two/") == files


def test_a_single_file_is_read_without_the_rest(storage: Storage, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    read = storage.read
    asked: list[tuple[str, int | None]] = []

    def recorded(key: str, start: int = 0, length: int | None = None) -> Any:
        asked.append((key, length))
        return read(key, start, length)

    monkeypatch.setattr(storage, "read", recorded)
    for path in [*ODD, *LARGE, "class-3/00003.bin"]:
        asked.clear()
        with read_packed(storage, PREFIX, path) as stream:
            assert stream.read() == ALL[path]
        assert asked[0][0] == index_key(PREFIX) and len(asked) == 2
        assert asked[1] == (f"{PREFIX}/{path}", None) or asked[1][1] == len(ALL[path])
    with pytest.raises(NotFound, match="none"):
        read_packed(storage, PREFIX, "none")
    with pytest.raises(UnsafeKey):
        read_packed(storage, PREFIX, "../set/empty")
    storage.write("plain/a", b"1")
    with read_packed(storage, "plain", "a") as stream:
        assert stream.read() == b"1"


def test_an_upload_that_broke_off_goes_on_with_what_is_missing(
    storage: Storage, tree: Path, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = storage.upload
    keys: list[str] = []
    one_by_one = threading.Lock()

    def full(path: str, key: str, sha256: str = "", progress: Any = None) -> Any:
        with one_by_one:
            if keys:
                raise StorageFull("no space")
            keys.append(key)
            return upload(path, key, sha256, progress)

    monkeypatch.setattr(storage, "upload", full)
    with pytest.raises(StorageFull):
        upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    assert committed(storage, PREFIX) is None and len(keys) == 1 and list(temporary.glob(".launcher~*")) == []
    monkeypatch.setattr(storage, "upload", upload)
    result = upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    index = find_index(storage, PREFIX)
    assert index is not None
    first = next(number for number, shard in enumerate(index.shards) if keys[0].endswith(shard.name))
    assert result.already_there == sum(place.shard == first for place in index.places) > 0
    download_tree(storage, PREFIX, tmp_path / "copy")
    assert contents(tmp_path / "copy") == ALL


def test_a_shard_with_other_bytes_of_the_right_size_is_sent_again(storage: Storage, tree: Path) -> None:
    manifest = scan(tree)
    upload_tree(tree, storage, PREFIX, manifest, pack=True)
    good = objects(storage)
    name = min(key for key in good if key.endswith(".tar"))
    storage.write(f"{PREFIX}/{name}", bytes(len(good[name])))
    storage.write(f"{PREFIX}/.shards/00000-0123456789abcdef.tar", b"of another tree")
    storage.delete([manifest_key(PREFIX)])
    upload_tree(tree, storage, PREFIX, manifest, pack=True)
    assert objects(storage) == good


def test_a_download_keeps_what_is_right_and_fetches_only_what_is_not(
    storage: Storage, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    copy = tmp_path / "copy"
    download_tree(storage, PREFIX, copy)
    kept = (copy / "block").stat().st_ino
    (copy / "small").write_bytes(b"S" * SMALL)
    (copy / "class-3/00003.bin").unlink()
    (copy / "own").write_bytes(b"mine")
    result = download_tree(storage, PREFIX, copy)
    assert (result.sent_files, result.already_there) == (2, len(ALL) - 2)
    assert contents(copy) == {**ALL, "own": b"mine"}
    assert (copy / "block").stat().st_ino == kept
    read = storage.read
    metadata = (index_key(PREFIX), manifest_key(PREFIX))
    monkeypatch.setattr(storage, "read", lambda key, *rest: read(key, *rest) if key in metadata else pytest.fail(key))
    assert download_tree(storage, PREFIX, copy).sent_files == 0


def test_a_damaged_shard_is_corrupt_and_its_bad_files_stay_invisible(
    storage: Storage, tree: Path, tmp_path: Path
) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    index = find_index(storage, PREFIX)
    assert index is not None
    place = next(place for place in index.places if place.path == "block")
    key = shard_key(PREFIX, index.shards[place.shard].name)
    with storage.read(key) as stream:
        data = bytearray(stream.read())
    data[place.offset] ^= 1
    for damaged in (bytes(data), bytes(data[: place.offset + 1])):
        storage.write(key, damaged)
        with pytest.raises(Corrupt, match="block"):
            download_tree(storage, PREFIX, tmp_path / "copy")
        assert contents(tmp_path / "copy").items() <= ALL.items()
        assert not (tmp_path / "copy/block").exists()
        with pytest.raises(Corrupt, match="block"):
            read_packed(storage, PREFIX, "block")
    storage.delete([key])
    with pytest.raises(NotFound):
        download_tree(storage, PREFIX, tmp_path / "copy")


def _edited(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        document = json.loads(data)
        change(document)
        return json.dumps(document).encode()

    return edit


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-20],
    "no text": lambda data: b"\xff" + data,
    "no object": lambda data: b"[]",
    "another format": _edited(lambda found: found.update(format="tar")),
    "no files": _edited(lambda found: found.update(files=None)),
    "a row of another shape": _edited(lambda found: found["files"].append(["x", 1])),
    "a hash that is not": _edited(lambda found: found["files"][0].__setitem__(2, "0")),
    "another hash": _edited(lambda found: found["files"][0].__setitem__(2, "0" * 64)),
    "a file twice": _edited(lambda found: found["files"].append(found["files"][0])),
    "a shard that is not there": _edited(lambda found: found["files"][0].__setitem__(3, 99)),
    "before the shard": _edited(lambda found: found["files"][0].__setitem__(4, -1)),
    "behind the shard": _edited(lambda found: found["files"][0].__setitem__(4, 1 << 40)),
    "a shard elsewhere": _edited(lambda found: found["shards"][0].__setitem__(0, "../../x")),
    "shards in another order": _edited(lambda found: found["shards"].reverse()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_corrupt_and_nothing_is_written(
    storage: Storage, tree: Path, tmp_path: Path, damage: str
) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    with storage.read(index_key(PREFIX)) as stream:
        data = stream.read()
    storage.write(index_key(PREFIX), DAMAGES[damage](data))
    with pytest.raises(Corrupt) as caught:
        download_tree(storage, PREFIX, tmp_path / "copy")
    assert "index" in caught.value.message and caught.value.hint
    assert not (tmp_path / "copy").exists()


def test_an_index_of_another_tree_is_not_believed(storage: Storage, tree: Path, tmp_path: Path, plant: Plant) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    other = plant(tmp_path / "other", {**ALL, "a b": b"2"})
    upload_tree(other, storage, "other", scan(other), pack=True)
    storage.copy(index_key("other"), index_key(PREFIX))
    with pytest.raises(Corrupt, match="another tree"):
        download_tree(storage, PREFIX, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "C:evil", "a\\b"])
def test_names_that_climb_out_are_refused_before_anything_is_written(
    storage: Storage, tmp_path: Path, path: str
) -> None:
    digest = "0" * 64
    document = {"format": "launcher shards 1", "digest": digest, "shards": [], "files": [[path, 0, digest, -1, 0]]}
    storage.write(index_key("raw"), json.dumps(document).encode())
    with pytest.raises(UnsafeKey):
        download_tree(storage, "raw", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_source_that_is_not_what_was_scanned_is_not_committed(storage: Storage, tree: Path, temporary: Path) -> None:
    manifest = scan(tree)
    for damage in (lambda: (tree / "block").write_bytes(b"c" * 512), lambda: (tree / "block").write_bytes(b"longer")):
        damage()
        with pytest.raises(SourceChanged, match="block"):
            upload_tree(tree, storage, PREFIX, manifest, pack=True)
    (tree / "block").unlink()
    with pytest.raises(NotFound, match="block"):
        upload_tree(tree, storage, PREFIX, manifest, pack=True)
    assert committed(storage, PREFIX) is None and find_index(storage, PREFIX) is None
    assert list(temporary.glob(".launcher~*")) == []


def test_a_plain_upload_is_not_misled_by_a_packed_one_that_broke_off(
    storage: Storage, tree: Path, tmp_path: Path
) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    (tree / "block").write_bytes(b"c" * 512)
    storage.delete([manifest_key(PREFIX)])
    upload_tree(tree, storage, PREFIX, scan(tree))
    download_tree(storage, PREFIX, tmp_path / "copy")
    assert contents(tmp_path / "copy") == {**ALL, "block": b"c" * 512}


def test_a_plain_tree_over_a_packed_one_over_a_plain_one(storage: Storage, tree: Path, tmp_path: Path) -> None:
    """The first tree's objects still lie there, with the right sizes: only their sha256 tells."""
    for step, pack in enumerate((False, True, False)):
        (tree / "block").write_bytes(b"%d" % step * 512)
        send_tree(tree, storage, PREFIX, pack=pack)
        download_tree(storage, PREFIX, tmp_path / "copy")
        assert contents(tmp_path / "copy") == {**ALL, "block": b"%d" % step * 512}


def test_what_the_platform_copied_is_unpacked_with_nothing_else_known(
    storage: Storage, tree: Path, tmp_path: Path
) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    download_tree(storage, PREFIX, tmp_path / "inputs", unpacked=False)
    assert contents(tmp_path / "inputs") == objects(storage)
    result = download_tree(FileSystemStorage(tmp_path / "inputs"), "", tmp_path / "copy")
    assert result.sent_files == len(ALL)
    assert contents(tmp_path / "copy") == ALL


def test_a_file_stands_where_a_folder_must_be(storage: Storage, tree: Path, plant: Plant, tmp_path: Path) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=True)
    copy = plant(tmp_path / "copy", {"class-3": b"mine"})
    with pytest.raises(Conflict):
        download_tree(storage, PREFIX, copy)
    assert (copy / "class-3").read_bytes() == b"mine"


def test_an_index_that_is_somebodys_own_file_is_copied_as_it_is(storage: Storage, tmp_path: Path) -> None:
    mine = {"set/.shards/index.json": b"{}", "set/a": b"a"}
    for key, data in mine.items():
        storage.write(key, data)
    download_tree(storage, "set", tmp_path / "copy", unpacked=False)
    assert {f"set/{path}": data for path, data in contents(tmp_path / "copy").items()} == mine


@pytest.mark.parametrize("pack", [False, True])
def test_a_large_tree_with_a_file_in_the_place_of_the_index_is_refused_and_a_small_one_keeps_it(
    storage: Storage, tree: Path, plant: Plant, tmp_path: Path, pack: bool
) -> None:
    upload_tree(tree, storage, PREFIX, scan(tree), pack=pack)
    before = objects(storage, "")
    plant(tree, {".shards/index.json": b"{}"})
    for send in (
        lambda: upload_tree(tree, storage, PREFIX, scan(tree), pack=pack),
        lambda: send_tree(tree, storage, PREFIX, pack=pack),
        lambda: send_tree(tree, storage, "elsewhere", pack=pack),
    ):
        with pytest.raises(UnsafeKey, match="index") as caught:
            send()
        assert caught.value.hint
    assert objects(storage, "") == before
    small = {".shards/index.json": b"{}", "file": b"1"}
    send_tree(plant(tmp_path / "small", small), storage, "small", pack=pack)
    download_tree(storage, "small", tmp_path / "copy")
    assert contents(tmp_path / "copy") == small
