"""Finding out how a folder differs from a data set's layout, by names alone: nothing is opened but zip listings.

``locate`` tells where each file of the data set really lies and what is wrong with that place; what the files hold is
the business of the data set's own checker.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from .registry import DataFile, Dataset, Problem

DEPTH = 4
MOST = 5000
"""How far a folder is searched for misplaced files; a wrong PATH such as ``/`` must not take minutes."""

PACKED = {".gz": "gunzip", ".zip": "unzip", ".bz2": "bunzip2", ".xz": "unxz", ".z": "uncompress"}
UNFINISHED = (".part", ".crdownload", ".download", ".tmp")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")


@dataclass
class Located:
    """``files``: the wanted path -> where it lies, relative to the checked folder (absent: nothing to read).

    ``base``: the folder in which the layout begins, relative to the checked one; ``""`` as it should be.
    """

    base: str = ""
    files: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def locate(dataset: Dataset, root: Path) -> Located:
    """Where the files of ``dataset`` lie under ``root``."""
    wrong_root = _wrong_root(dataset, root)
    if wrong_root is not None:
        return Located(problems=[wrong_root])
    seen = _walk(root)
    here = Located()
    base = here.base = _base(dataset, root, seen, here)
    missing: list[DataFile] = []
    for file in dataset.files:
        if os.path.lexists(root / base / file.path):
            here.files[file.path] = _join(base, file.path)
        elif not _elsewhere(file, base, root, seen, here):
            missing.append(file)
    if missing and not _left_packed(dataset, root, seen, here):
        _report_missing(dataset, root, base, missing, here)
    return here


def arranged(dataset: Dataset, root: Path) -> Dataset:
    """The row with its files where they lie under ``root``: in its own layout, unless another one has more of them."""

    def moved(folders: Mapping[str, str]) -> tuple[DataFile, ...]:
        places = [(file, folders.get(file.folder, file.folder)) for file in dataset.files]
        return tuple(replace(file, path=_join(folder, file.name)) for file, folder in places)

    choices = [dataset.files, *(moved(folders) for folders in dataset.arrangements)]
    return max((replace(dataset, files=files) for files in choices), key=lambda row: found(row, root))


def found(dataset: Dataset, root: Path) -> int:
    """How many of the files lie under ``root``, in the layout of this very row."""
    return sum(os.path.lexists(root / file.path) for file in dataset.files)


def canonical(name: str) -> str:
    """What stays the same in the names that browsers, unpackers and mirrors make of one file's name."""
    stem = name.lower()
    for suffix in (*UNFINISHED, *PACKED, ".txt", ".bin", *UNFINISHED, *PACKED):
        stem = stem.removesuffix(suffix)
    stem = re.sub(r"(\s*\(\d+\)|[ _-]copy)$", "", stem)
    return re.sub(r"[^a-z0-9]", "", stem).replace("testimages", "t10kimages").replace("testlabels", "t10klabels")


def quoted(path: Path | str) -> str:
    """A path as it is typed into a shell."""
    return shlex.quote(str(path))


def _wrong_root(dataset: Dataset, root: Path) -> Problem | None:
    prepare = f"python -m launcher data prepare {dataset.name} {quoted(root)}"
    if not os.path.lexists(root):
        return Problem(".", f"there is no folder {root}", prepare)
    if root.is_symlink() and not root.exists():
        return Problem(".", f"is a link to nothing ({os.readlink(root)})", prepare)
    if root.is_dir():
        if not os.access(root, os.R_OK | os.X_OK):
            return Problem(".", "cannot be read: permission denied", f"chmod u+rx {quoted(root)}")
        if not any(root.iterdir()):
            return Problem(".", "the folder is empty", prepare)
        return _below(dataset, root)
    if root.name.lower().endswith(ARCHIVES):
        return Problem(".", "is an archive that was left packed", _unpack(root, root.parent))
    return Problem(".", "is a file, and a data set is a folder", f"name the folder: {quoted(root.parent)}")


def _below(dataset: Dataset, root: Path) -> Problem | None:
    """Whether ``root`` is one of the folders inside a data set."""
    above = root.absolute().parent
    own = [file for file in dataset.files if file.folder == root.absolute().name]
    others = [file for file in dataset.files if file not in own]
    if any((root / file.name).is_file() for file in own) and any((above / file.path).exists() for file in others):
        return Problem(".", f"is the {own[0].folder} folder of a data set", f"name the folder above: {quoted(above)}")
    return None


def _walk(root: Path) -> list[PurePosixPath]:
    """Files below ``root``, shallow ones first; without hidden ones and what macOS adds."""
    seen: list[PurePosixPath] = []
    level = [PurePosixPath(".")]
    for _ in range(DEPTH):
        deeper: list[PurePosixPath] = []
        for folder in level:
            try:
                names = sorted(os.listdir(root / folder))
            except OSError:
                continue
            for name in names[:MOST]:
                if not name.startswith(".") and name != "__MACOSX" and len(seen) + len(deeper) < MOST:
                    (deeper if os.path.isdir(root / folder / name) else seen).append(folder / name)
        level = deeper
    return seen


def _base(dataset: Dataset, root: Path, seen: list[PurePosixPath], here: Located) -> str:
    """The folder, relative to ``root``, in which the layout begins; a wrong one is reported."""
    if any(os.path.lexists(root / file.path) for file in dataset.files):
        return ""
    wanted = {file.path for file in dataset.files}
    for path in seen:
        for parent in list(path.parents)[:-1]:
            if path.relative_to(parent).as_posix() in wanted:
                base = parent.as_posix()
                here.problems.append(
                    Problem(f"{base}/", f"the data set lies deeper: in {base}/", f"name that folder: {_at(root, base)}")
                )
                return base
    return ""


def _elsewhere(file: DataFile, base: str, root: Path, seen: list[PurePosixPath], here: Located) -> bool:
    """Whether ``file`` was found under another name or in another place; that is reported."""
    key = canonical(file.name)
    candidates = [path for path in seen if canonical(path.name) == key]
    if not candidates:
        return False
    folder = PurePosixPath(base) / file.folder
    best = min(candidates, key=lambda path: (path.parent != folder, path.suffix.lower() in PACKED, len(path.parts)))
    target = _join(base, file.path)
    place, suffix = best.as_posix(), best.suffix.lower()
    move = f"mv {_at(root, place)} {_at(root, target)}"
    if best.parent != folder and not (root / folder).is_dir():
        move = f"mkdir -p {_at(root, folder)} && {move}"
    if suffix in UNFINISHED:
        here.problems.append(Problem(place, "is a download that never finished", f"download {file.name} again"))
        return True
    if suffix in PACKED:
        unpack = f"{PACKED[suffix]} {_at(root, place)}"
        if suffix == ".zip":
            unpack += f" -d {_at(root, best.parent)}"
        here.problems.append(Problem(place, f"is still packed ({suffix})", unpack))
        best = PurePosixPath(place[: -len(suffix)])
        move = move.replace(_at(root, place), _at(root, best))
    else:
        here.files[file.path] = place
    if best.parent != folder:
        where = "in the top folder" if best.parent == PurePosixPath(".") else f"in {best.parent}/"
        here.problems.append(Problem(place, f"lies {where}, not in {folder}/", move))
    elif best.name != file.name:
        here.problems.append(Problem(place, f"should be named {file.name}", move))
    return True


def _left_packed(dataset: Dataset, root: Path, seen: list[PurePosixPath], here: Located) -> bool:
    """Whether an archive lies there that holds what is missing; that is reported."""
    for path in seen:
        if path.name.lower().endswith(ARCHIVES) and _holds(dataset, root / path):
            here.problems.append(
                Problem(path.as_posix(), "is an archive that was left packed", _unpack(root / path, root))
            )
            return True
    return False


def _holds(dataset: Dataset, archive: Path) -> bool:
    import zipfile

    if dataset.name in archive.name.lower():
        return True
    keys = {canonical(file.name) for file in dataset.files}
    try:
        with zipfile.ZipFile(archive) as listing:
            return any(canonical(PurePosixPath(name).name) in keys for name in listing.namelist())
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return False


def _report_missing(dataset: Dataset, root: Path, base: str, missing: list[DataFile], here: Located) -> None:
    """One problem for a folder that is missing as a whole, else one a file."""
    prepare = f"python -m launcher data prepare {dataset.name} {_at(root, base)}"
    for folder in dict.fromkeys(file.folder for file in missing):
        place = _join(base, folder)
        lost = [file for file in missing if file.folder == folder]
        if folder and os.path.lexists(root / place) and not (root / place).is_dir():
            here.problems.append(
                Problem(place, "is a file where a folder belongs", f"rm {_at(root, place)}; {prepare}")
            )
        elif folder and not (root / place).exists() and len(lost) == sum(f.folder == folder for f in dataset.files):
            here.problems.append(Problem(f"{place}/", "the folder is missing", prepare))
        else:
            here.problems.extend(Problem(_join(base, f.path), "the file is missing", prepare) for f in lost)


def _unpack(archive: Path, into: Path) -> str:
    tool = {".zip": "unzip {} -d {}", ".7z": "7z x {} -o{}", ".rar": "unrar x {} {}"}
    return tool.get(archive.suffix.lower(), "tar -xf {} -C {}").format(quoted(archive), quoted(into))


def _join(base: str, path: str) -> str:
    return f"{base}/{path}" if base else path


def _at(root: Path, place: str | PurePosixPath) -> str:
    return quoted(root / place)
