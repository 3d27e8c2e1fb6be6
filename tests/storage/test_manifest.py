"""Manifests, scans under the symlink policy, and the cache of hashes."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import (
    AccessDenied,
    Conflict,
    Corrupt,
    LinkRefused,
    NotFound,
    SourceChanged,
    StorageError,
    UnsafeKey,
)
from storage.manifest import Entry, Manifest, scan
from storage.tree import walk

Plant = Callable[..., Path]

TREE = {"a": b"1", "a-b": b"", "a.d/b": b"22", "数据/文 件": b"333", "z/y/x": b"4444"}


def of(files: dict[str, bytes]) -> Manifest:
    return Manifest(Entry.of(path, data) for path, data in files.items())


# -- the manifest itself


def test_the_digest_tells_trees_apart_by_path_size_and_content_and_nothing_else() -> None:
    tree = of(TREE)
    assert tree.digest == of(dict(reversed(TREE.items()))).digest
    assert tree == of(dict(reversed(TREE.items())))
    others = [{**TREE, "a": b"2"}, {**TREE, "b": b""}, {k: v for k, v in TREE.items() if k != "a"}, {}]
    others.append({("a2" if k == "a" else k): v for k, v in TREE.items()})
    digests = {of(other).digest for other in others} | {tree.digest}
    assert len(digests) == len(others) + 1
    assert tree.content_hash == tree.digest[:20] and len(tree.digest) == 64
    assert tree.total_bytes == 10
    assert [entry.path for entry in tree.entries] == sorted(TREE, key=str.encode)


def test_the_digest_is_pinned() -> None:
    """It names folders in buckets: another formula would upload every tree again."""
    assert of({"a": b"1", "数": b""}).digest == "0eee11cefceaa7d1ed2767d703281c7d728c0c7d8512e87022b7199f4b7f3e09"


PATHS = st.lists(st.text(st.sampled_from("abé字 ."), min_size=1, max_size=5), max_size=6, unique=True).map(
    lambda names: [name + "!" for name in names]
)


@settings(deadline=None)
@given(PATHS, st.binary(max_size=5))
def test_json_and_manifest_are_each_others_inverse(paths: list[str], data: bytes) -> None:
    tree = of(dict.fromkeys(paths, data))
    assert Manifest.from_json(tree.to_json()) == tree
    assert Manifest.from_json(tree.to_json()).to_json() == tree.to_json()


@settings(deadline=None)
@given(st.integers(0, 400), st.binary(max_size=3))
def test_a_manifest_that_is_cut_or_edited_is_never_believed(where: int, other: bytes) -> None:
    good = of(TREE).to_json()
    bad = good[:where] + other + good[where + len(other) + 1 :]
    try:
        assert Manifest.from_json(bad) == of(TREE)
    except (Corrupt, UnsafeKey):
        return


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"version": 2, "files": []},
        {"version": 1},
        {"version": 1, "files": {}},
        {"version": 1, "files": [["a", 1]]},
        {"version": 1, "files": [["a", True, "0" * 64]]},
        {"version": 1, "files": [["a", "1", "0" * 64]]},
        {"version": 1, "files": [["a", -1, "0" * 64]]},
        {"version": 1, "files": [["a", 1, "0" * 63]]},
        {"version": 1, "files": [["a", 1, "0" * 64], ["a", 1, "0" * 64]]},
        {"version": 1, "files": [["a", 1, "0" * 64], ["a/b", 1, "0" * 64]]},
        {"version": 1, "files": [], "digest": "0" * 64},
        {"version": 1, "files": []},
    ],
)
def test_a_manifest_of_another_shape_is_corrupt(document: object) -> None:
    with pytest.raises(Corrupt) as caught:
        Manifest.from_json(json.dumps(document).encode())
    assert ".manifest.json" in caught.value.hint


def test_hostile_bytes_are_corrupt() -> None:
    for data in (b"", b"\xff\xfe", b"[" * 100_000, b"{", b"\0" * 100):
        with pytest.raises(Corrupt):
            Manifest.from_json(data)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "C:/x", "a\0", ""])
def test_a_manifest_never_holds_an_unsafe_path(path: str) -> None:
    document = {"version": 1, "digest": "", "files": [[path, 1, "0" * 64]]}
    with pytest.raises(UnsafeKey):
        Manifest.from_json(json.dumps(document).encode())
    with pytest.raises(UnsafeKey):
        Manifest([Entry(path, 1, "0" * 64)])


def test_a_path_cannot_be_a_file_twice_or_a_file_and_a_folder() -> None:
    for paths in (["a", "a"], ["a", "a-b", "a/b"], ["x/y/z", "x"]):
        with pytest.raises(Conflict):
            Manifest(Entry.of(path, b"") for path in paths)


# -- scanning


def test_a_scan_describes_every_file(plant: Plant, tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {**TREE, ".hidden": b"h"})
    (root / "empty/folder").mkdir(parents=True)
    steps: list[int] = []
    assert scan(root, progress=steps.append) == of({**TREE, ".hidden": b"h"})
    assert sum(steps) == 11


def test_a_walk_is_in_order_of_the_paths_and_leaves_no_folder_open(plant: Plant, tmp_path: Path) -> None:
    paths = ["a!", "a.txt", "a/b/c", "a/b.d", "a/z", "a0", "aa/x", "b", "b-/x", "ü/é", "z/y/x"]
    root = plant(tmp_path / "tree", dict.fromkeys(paths, b""))
    (root / "pipe").mkdir()
    os.mkfifo(root / "pipe/line")
    before = os.listdir("/dev/fd")
    refused: list[StorageError] = []
    assert [found.path for found in walk(root, refused=refused.append)] == sorted(paths)
    assert len(refused) == 1
    with pytest.raises(LinkRefused):
        list(walk(root))
    next(walk(root))
    assert os.listdir("/dev/fd") == before


def test_a_scan_leaves_out_our_own_leftovers(plant: Plant, tmp_path: Path) -> None:
    others = {"manifest.json": b"content", "x.part": b"content"}
    ours = {"a/.launcher~0123456789abcdef.part": b"torn"}
    assert scan(plant(tmp_path / "tree", {**others, **ours})) == of(others)


def test_a_scan_of_given_paths_reads_only_those(plant: Plant, tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", TREE)
    (root / "pipe").symlink_to("/nowhere")
    assert scan(root, paths=["z/y/x", "a"]) == of({"a": b"1", "z/y/x": b"4444"})
    assert scan(root, paths=[]).entries == ()
    for missing in ("none", "z/y", "a/b"):
        with pytest.raises(NotFound, match=missing):
            scan(root, paths=[missing])
    with pytest.raises(UnsafeKey):
        scan(root, paths=["../tree/a"])


def test_a_root_that_is_no_folder_is_not_found(plant: Plant, tmp_path: Path) -> None:
    plant(tmp_path, {"file": b""})
    for root in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(NotFound, match=root.name):
            scan(root)


def test_links_inside_the_root_stand_for_their_content(plant: Plant, tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"real/file": b"content"})
    (root / "link").symlink_to("real/file")
    (root / "folder").symlink_to(root / "real")
    (root / "real/up").symlink_to("../link")
    (tmp_path / "door").symlink_to(root)
    expected = dict.fromkeys(("real/file", "link", "folder/file", "real/up", "folder/up"), b"content")
    assert scan(root) == of(expected)
    assert scan(tmp_path / "door") == of(expected)
    assert scan(root, paths=["folder/file", "link"]) == of({"folder/file": b"content", "link": b"content"})


def test_links_out_of_the_root_are_refused_unless_allowed(plant: Plant, tmp_path: Path) -> None:
    plant(tmp_path / "tree-2", {"file": b"outside"})  # its name starts with the root's
    for name, target in (("link", "../tree-2/file"), ("folder", tmp_path / "tree-2")):
        root = plant(tmp_path / "tree", {"a": b"1"})
        link = root / name
        link.symlink_to(target)
        with pytest.raises(LinkRefused, match=str(link)):
            scan(root)
        path = "folder/file" if name == "folder" else "link"
        with pytest.raises(LinkRefused, match=path):
            scan(root, paths=[path])
        assert scan(root, follow_outside=True) == of({"a": b"1", path: b"outside"})
        assert scan(root, paths=[path], follow_outside=True) == of({path: b"outside"})
        link.unlink()


@pytest.mark.parametrize("target", ["nowhere", "link", ".", "..", "../tree/sub"])
def test_links_that_dangle_or_loop_are_refused_even_then(plant: Plant, tmp_path: Path, target: str) -> None:
    root = plant(tmp_path / "tree", {"sub/a": b"1"})
    (root / "sub/link").symlink_to(target)
    for follow_outside in (False, True):
        with pytest.raises(LinkRefused, match="sub/link"):
            scan(root, follow_outside=follow_outside)


def test_two_folders_that_link_to_each_other_are_a_loop(plant: Plant, tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"a/x": b"1", "b/y": b"2"})
    (root / "a/b").symlink_to("../b")
    (root / "b/a").symlink_to("../a")
    with pytest.raises(LinkRefused, match="leads back"):
        scan(root)


def test_special_files_are_refused(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = plant(tmp_path / "tree", {})
    monkeypatch.chdir(root)
    os.mkfifo("pipe")
    with pytest.raises(LinkRefused, match="pipe"):
        scan(root)
    os.unlink("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(LinkRefused, match="socket"):
            scan(root)


def test_an_unreadable_file_or_folder_is_named(plant: Plant, unprivileged: Path) -> None:
    root = plant(unprivileged / "tree", {"folder/file": b"x"})
    for place in (root / "folder/file", root / "folder"):
        place.chmod(0)
        with pytest.raises(AccessDenied, match=str(place)) as caught:
            scan(root)
        assert caught.value.hint
        place.chmod(0o700)


@pytest.mark.parametrize("name", [b"caf\xe9", b"new\nline", b"back\\slash", b"c:drive"])
def test_a_file_name_that_cannot_be_a_key_is_refused(tmp_path: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
        pass
    with pytest.raises(UnsafeKey) as caught:
        scan(tmp_path)
    assert repr(os.fsdecode(name)) in str(caught.value)


def test_a_file_that_changes_while_it_is_scanned_is_noticed(plant: Plant, tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {"file": b"x" * 3_000_000})

    def append(_: int) -> None:
        with (root / "file").open("ab") as stream:
            stream.write(b"more")

    with pytest.raises(SourceChanged, match="file"):
        scan(root, progress=append)


def test_every_refusal_is_a_storage_error_with_a_hint(plant: Plant, tmp_path: Path) -> None:
    root = plant(tmp_path / "tree", {})
    (root / "link").symlink_to("/etc/passwd")
    with pytest.raises(StorageError) as caught:
        scan(root)
    assert caught.value.hint
