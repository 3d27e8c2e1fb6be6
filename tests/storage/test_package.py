"""What the package promises as a whole: errors, where a URL leads, and what an import costs."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import storage
from storage import errors
from storage.errors import BackendMissing, InvalidUrl, StorageError
from storage.filesystem import FileSystemStorage

HOUSE = Path(storage.__file__).parent.parent


def all_errors() -> list[type[StorageError]]:
    return [StorageError, *StorageError.__subclasses__()]


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_keeps_message_and_hint_also_through_pickle(kind: type[StorageError]) -> None:
    for error in (kind("what", "mend"), pickle.loads(pickle.dumps(kind("what", "mend")))):
        assert (str(error), error.message, error.hint) == ("what", "what", "mend")
        assert type(error) is kind
    assert kind("what").hint == ""
    assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("kind", "builtin", "number"),
    [
        ("NotFound", FileNotFoundError, errno.ENOENT),
        ("Conflict", FileExistsError, errno.EEXIST),
        ("AccessDenied", PermissionError, errno.EACCES),
        ("StorageFull", OSError, errno.ENOSPC),
        ("InvalidUrl", ValueError, None),
        ("UnsafeKey", ValueError, None),
        ("LinkRefused", ValueError, None),
        ("BackendMissing", ImportError, None),
    ],
)
def test_an_error_is_also_the_builtin_that_fits(kind: str, builtin: type[Exception], number: int | None) -> None:
    error = getattr(errors, kind)("what")
    assert isinstance(error, builtin)
    assert getattr(error, "errno", None) == number


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.StorageFull),
        (errno.EDQUOT, errors.StorageFull),
        (errno.EROFS, errors.AccessDenied),
        (errno.ENOTDIR, errors.Conflict),
        (errno.EIO, StorageError),
    ],
)
def test_errors_of_the_system_find_their_place_in_the_tree(number: int, kind: type[StorageError]) -> None:
    with pytest.raises(StorageError, match="cannot do it: ") as caught, errors.translated("cannot do it"):
        raise OSError(number, "why")
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, OSError)


def test_an_error_that_is_in_the_tree_already_is_not_worded_again() -> None:
    with pytest.raises(errors.NotFound) as caught, errors.translated("cannot do it"):
        raise errors.NotFound("there is no x", "make one")
    assert (caught.value.message, caught.value.hint) == ("there is no x", "make one")


def test_a_remote_url_leads_to_the_folder_of_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_BUCKETS", str(tmp_path / "env"))
    place, prefix = storage.locate("s3://my-bucket/data/mnist/")
    assert prefix == "data/mnist"
    place.write("x", b"1")
    assert (tmp_path / "env/my-bucket/x").read_bytes() == b"1"
    place, prefix = storage.locate("obs://my-bucket", buckets=tmp_path / "argument")
    assert prefix == ""
    place.write("x", b"2")
    assert (tmp_path / "argument/my-bucket/x").read_bytes() == b"2"


def test_a_local_place_is_a_bucket_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("data", str(tmp_path / "data"), (tmp_path / "data").as_uri()):
        place, prefix = storage.locate(url)
        assert isinstance(place, FileSystemStorage)
        assert (place.root, prefix) == (str((tmp_path / "data").resolve()), "")


def test_without_a_back_end_two_lines_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCHER_BUCKETS", raising=False)
    monkeypatch.setattr(storage, "_REMOTE_BACKENDS", (("storage.none", "pip install something"),))
    with pytest.raises(BackendMissing) as caught:
        storage.locate("obs://my-bucket/data")
    assert "obs://my-bucket/data" in caught.value.message
    assert "pip install something" in caught.value.hint and "LAUNCHER_BUCKETS" in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


def test_a_bad_url_is_named(tmp_path: Path) -> None:
    for url in ("obs://UPPER/x", "obs://", "ftp://x/y", ""):
        with pytest.raises(InvalidUrl) as caught:
            storage.locate(url, buckets=tmp_path)
        assert caught.value.hint


def test_an_import_costs_only_the_small_modules() -> None:
    code = "import sys, storage; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], cwd=HOUSE, text=True).split())
    assert {name for name in loaded if name.startswith("storage")} == {
        "storage", "storage.base", "storage.errors", "storage.urls",
    }  # fmt: skip
    assert not loaded & {"hashlib", "concurrent.futures", "sqlite3", "json", "tempfile", "shutil", "urllib.parse"}
