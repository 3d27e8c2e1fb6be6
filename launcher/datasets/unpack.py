"""Taking the wanted files out of what a source sent.

Members are found by their base name and written to names of ours: a path inside an archive is never followed. At
most a file's known size (plus one byte, to notice more) is written, whatever the archive promises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from .errors import SourceFailed
from .registry import MIB, DataFile

CHUNK = 1 << 18
MOST_INSIDE = 512 * MIB
"""What the members of one archive may add up to; more is a bomb."""


class Readable(Protocol):
    """All that is asked of a stream."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


def from_gzip(fetched: Path, wanted: Sequence[DataFile], into: Path) -> None:
    """``fetched`` is the gzip of the one wanted file."""
    import gzip

    (file,) = wanted
    with broken_archive("is not a whole gzip file"), gzip.open(fetched, "rb") as stream:
        copy(stream, into / file.path, file)


def from_zip(fetched: Path, wanted: Sequence[DataFile], into: Path) -> None:
    """The wanted files wherever they lie in a zip, plain or each gzipped."""
    import gzip
    import zipfile

    with broken_archive("is not a whole zip archive"), zipfile.ZipFile(fetched) as archive:
        members = {PurePosixPath(i.filename).name: i for i in archive.infolist() if "__MACOSX" not in i.filename}
        for file in wanted:
            plain, packed = members.get(file.name), members.get(file.name + ".gz")
            if plain is not None:
                with archive.open(plain) as stream:
                    copy(stream, into / file.path, file)
            elif packed is not None:
                with archive.open(packed) as outer, gzip.GzipFile(fileobj=outer) as inner:
                    copy(inner, into / file.path, file)
            else:
                raise SourceFailed(f"has no {file.name} in the archive")


def from_tar(fetched: Path, wanted: Sequence[DataFile], into: Path) -> None:
    """The wanted files wherever they lie in a .tar.gz, read in one pass."""
    import tarfile

    missing = {file.name: file for file in wanted}
    inside = 0
    with broken_archive("is not a whole tar archive"), tarfile.open(fetched, "r|gz") as archive:
        for member in archive:
            inside += member.size
            if inside > MOST_INSIDE:
                raise SourceFailed("is an archive that unpacks to far more than the data")
            name = PurePosixPath(member.name).name
            stream = archive.extractfile(member) if member.isreg() and name in missing else None
            if stream is not None:
                copy(stream, into / missing[name].path, missing.pop(name))
            if not missing:
                return
    raise SourceFailed(f"has no {min(missing)} in the archive")


def copy(stream: Readable, target: Path, file: DataFile) -> None:
    """``stream`` to ``target``, which must not be there yet; one byte more or less than ``file.size`` is refused."""
    left = file.size
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as sink:
        while chunk := stream.read(min(CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise SourceFailed(f"has more than the {file.size:,} bytes of {file.name}")
            sink.write(chunk)
    if left:
        raise SourceFailed(f"has {file.size - left:,} of the {file.size:,} bytes of {file.name}")


@contextmanager
def broken_archive(reason: str) -> Iterator[None]:
    """Whatever a damaged or hostile archive makes the standard library raise, as ``SourceFailed(reason)``.

    That is a zoo: BadZipFile, TarError, zlib.error, EOFError, RuntimeError (an encrypted member), NotImplementedError
    (a compression of another age), struct.error, OSError without an errno (gzip, bz2). An OSError with an errno is
    this machine's (a full disk), not the source's fault, and passes.
    """
    try:
        yield
    except SourceFailed:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise SourceFailed(reason) from error
    except Exception as error:
        raise SourceFailed(reason) from error
