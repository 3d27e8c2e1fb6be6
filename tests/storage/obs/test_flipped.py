"""One bit that flips on the way is got over wherever it falls; bytes that stay wrong are Corrupt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.emulator.obs import Fault, Kind, ObsServer
from storage.errors import Corrupt
from storage.manifest import scan
from storage.obs import ObsService, ObsSettings, ObsStorage
from storage.obs.wire import Opened
from storage.packing import MANY, read_packed
from storage.transfer import download_tree, upload_tree
from tests.servers.emulated import serving
from tests.servers.process import ACCESS_KEY, SECRET_KEY

Flip = Callable[[str, int], None]
FILES = {f"f{index:05}": b"%05d" % index * 60 for index in range(MANY)}
MIDDLE = f"f{MANY // 2:05}"
WRONG = Fault(Kind.FLIPPED_DOWNLOAD, after=MANY // 2 * 1024 + 10)
"""In the middle file of the shard, each of which takes two blocks; in the last byte of what is smaller."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ObsServer]:
    with serving(tmp_path / "root") as server:
        yield server


@pytest.fixture(params=["direct", "sdk"])
def bucket(request: pytest.FixtureRequest, server: ObsServer, tmp_path: Path) -> Iterator[ObsStorage]:
    """With a packed tree at `tree`, in one shard."""
    settings = ObsSettings(
        endpoint=server.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY, signature="obs", wire=request.param
    )
    service = ObsService(settings)
    service.make_bucket("bucket")
    source = tmp_path / "source"
    source.mkdir()
    for name, data in FILES.items():
        (source / name).write_bytes(data)
    upload_tree(source, service.bucket("bucket"), "tree", scan(source), pack=True)
    yield service.bucket("bucket")
    service.close()


@pytest.fixture
def flip(bucket: ObsStorage, server: ObsServer, monkeypatch: pytest.MonkeyPatch) -> Flip:
    """`flip("index", 2)`: the next two answers with an object of such a name have a wrong bit."""

    def start(part: str, times: int) -> None:
        left = [WRONG] * times
        get = bucket.wire.get

        def flipped(key: str, headers: dict[str, str]) -> Opened:
            if part in key and left:
                server.faults.once("GetObject", left.pop())
            return get(key, headers)

        monkeypatch.setattr(bucket.wire, "get", flipped)

    return start


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


@pytest.mark.parametrize("part", ["manifest.json", "index.json", "00000-"])
def test_a_bit_that_flips_twice_costs_two_more_reads(
    bucket: ObsStorage, server: ObsServer, flip: Flip, tmp_path: Path, part: str
) -> None:
    flip(part, 2)
    ticks: list[int] = []
    download_tree(bucket, "tree", tmp_path / "copy", progress=ticks.append)
    assert contents(tmp_path / "copy") == FILES
    assert sum(ticks) == sum(map(len, FILES.values()))
    assert server.faults.injected[Kind.FLIPPED_DOWNLOAD] == 2


@pytest.mark.parametrize("part", ["manifest.json", "index.json", "00000-"])
def test_bytes_that_stay_wrong_are_corrupt_and_the_first_way_out_harms_nothing(
    bucket: ObsStorage, flip: Flip, tmp_path: Path, part: str
) -> None:
    flip(part, 99)
    with pytest.raises(Corrupt) as caught:
        download_tree(bucket, "tree", tmp_path / "copy")
    assert caught.value.hint.startswith("try again")
    if part == "00000-":
        assert contents(tmp_path / "copy").items() < FILES.items()


@pytest.mark.parametrize("part", ["index.json", "00000-"])
def test_a_single_file_of_a_shard_is_read_again_too(bucket: ObsStorage, flip: Flip, part: str) -> None:
    flip(part, 2)
    with read_packed(bucket, "tree", MIDDLE) as stream:
        assert stream.read() == FILES[MIDDLE]
