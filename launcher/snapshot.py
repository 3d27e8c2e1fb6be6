"""Which code goes up, and why: ignore rules, secret guard, line ends, limits, hash.

The rules, first match first:

1. what no job ever needs (``ALWAYS_OUT``: version control, virtual environments, caches) stays out;
2. so does the data folder, when it lies inside the project;
3. the ``.launcherignore`` files, nearest folder first, from the file's own folder up to the project, and on to the
   root of the git checkout that it lies in; within a file the last match counts, as in git;
4. the ``.gitignore`` files, likewise: any word of a ``.launcherignore`` comes before theirs, so ``!weights.ckpt`` there
   brings back what git ignores;
5. everything else under ``code.include`` goes up.

A folder that is out is not entered. Links that lie inside the project are sent as what they point to; others are
refused unless a rule keeps them out. Python and shell files with Windows line ends are sent with Unix ones. The limits
are ModelArts' own.
"""

from __future__ import annotations

import os
import posixpath
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from launcher.errors import LauncherError, SecretFound, UsageError, nearest
from launcher.jobs import Job, code_paths
from launcher.secrets import find_secrets
from storage.errors import LinkRefused
from storage.manifest import Entry, Manifest
from storage.urls import check_key

ALWAYS_OUT = {
    ".git", ".hg", ".svn", ".launcher", ".venv", "venv", "node_modules", "__pycache__", ".ipynb_checkpoints",
    ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".tox", ".DS_Store", "Thumbs.db", ".idea", ".vscode",
}  # fmt: skip
ALWAYS_OUT_SUFFIXES = (".pyc", ".pyo", ".swp", "~")
IGNORE_FILES = (".launcherignore", ".gitignore")
DATA_RULE = "the data (--data)"
UNIX_LINES = (".py", ".sh")
MAX_FILES, MAX_DEPTH, MAX_BYTES = 1000, 32, 5 << 30
"""ModelArts takes at most 1000 files, 32 levels and 5 GB of code (codes 2759, 2760, 2761)."""


class CodeFile(msgspec.Struct, frozen=True):
    """One file or folder of the project, and the rule that keeps it in or out."""

    path: str
    size: int | None
    rule: str

    def to_json(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "rule": self.rule}


class Snapshot(msgspec.Struct, frozen=True):
    """The code of a job, as it will lie in the bucket."""

    project: Path
    files: list[CodeFile]
    excluded: list[CodeFile]
    manifest: Manifest
    rewritten: dict[str, bytes]
    """Contents that differ from the files' own: line ends made Unix's."""
    notes: list[str] = []


def take(job: Job, allow_secrets: frozenset[str] = frozenset(), data_folder: Path | None = None) -> Snapshot:
    """Look at the job's code and decide; reads every file, writes nothing.

    ``data_folder``, where it lies inside the project, goes up as the data and not as code; a boot file inside it is
    still code, and so is the whole folder then.

    Raises SecretFound, UsageError (a limit, a boot file left out, an allowed file that is not there), LauncherError
    (the boot file does not compile) and storage's LinkRefused and UnsafeKey.
    """
    data = _real(data_folder) if data_folder else None
    walk = _Walk(job.project, None if data in _real(job.boot_file).parents else data)
    for path in code_paths(job):
        walk.add(path)
    _check_limits(walk.files)
    allowed = _allowed(allow_secrets, walk.files)
    entries, rewritten, secrets, notes = [], {}, [], []
    for file in walk.files:
        content = _read(job.project / file.path)
        if file.path not in allowed:
            secrets += find_secrets(file.path, content)
        if file.path.endswith(UNIX_LINES) and b"\r\n" in content:
            content = rewritten[file.path] = content.replace(b"\r\n", b"\n")
            notes.append(f"{file.path}: Windows line ends are sent as Unix ones")
        if file.path == job.spec.boot_file:
            notes += _check_boot_file(file.path, content, job.script)
        entries.append(Entry.of(file.path, content))
    if secrets:
        more = f", and {len(secrets) - 1} more" if len(secrets) > 1 else ""
        hint = f"move it out, name it in .launcherignore, or pass --allow-secret {secrets[0].path}"
        raise SecretFound(f"{secrets[0]}{more}; nothing was sent", hint)
    if not any(entry.path == job.spec.boot_file for entry in entries):
        boot = f"{job.spec.boot_file}/"
        rule = next((f.rule for f in walk.excluded if boot.startswith(f.path.rstrip("/") + "/")), "no rule")
        raise UsageError(f"the boot file {job.spec.boot_file} is kept out by {rule}", "change that rule")
    if any(entry.path.rsplit("/", 1)[-1] == "pip-requirements.txt" for entry in entries):
        notes.append("pip-requirements.txt is installed by ModelArts before the start, and not by the local target")
    sizes = {entry.path: entry.size for entry in entries}
    files = [CodeFile(file.path, sizes[file.path], file.rule) for file in walk.files]
    return Snapshot(job.project, files, walk.excluded, Manifest(entries), rewritten, notes)


class _Walk:
    """The project's files in order, each with its rule; folders that are out are not entered."""

    def __init__(self, project: Path, data: Path | None) -> None:
        self.project = project
        self.data = data
        self.real_project = _real(project)
        self.files: list[CodeFile] = []
        self.excluded: list[CodeFile] = []
        self._rules = _Rules(self.real_project)
        self._seen: set[str] = set()

    def add(self, path: str) -> None:
        """Walk one of ``code.include``; what stands there itself is in, whatever the ignore files say of it."""
        parts = PurePosixPath(path).parts
        path = "/".join(parts)
        for count in range(1, len(parts) + 1):
            self._check_link("/".join(parts[:count]), ())
        full = self.project / path
        if path and _real(full) == self.data:
            self.excluded.append(CodeFile(path + "/", None, DATA_RULE))
        elif full.is_dir():
            self._folder(path, (_real(full),))
        else:
            self._file(path, full.stat().st_size, "code.include")

    def _folder(self, folder: str, parents: tuple[Path, ...]) -> None:
        with os.scandir(self.project / folder) as listing:
            items = sorted(listing, key=lambda item: item.name)
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            full = self.project / path
            is_folder = full.is_dir()
            rule, out = self._rule(path, is_folder)
            if out:
                size = None if is_folder else item.stat(follow_symlinks=False).st_size
                self.excluded.append(CodeFile(path + "/" if is_folder else path, size, rule))
                continue
            self._check_link(path, parents)
            if is_folder:
                self._folder(path, (*parents, _real(full)))
            elif item.is_file():
                self._file(path, item.stat().st_size, rule)
            else:
                self.excluded.append(CodeFile(path, None, "not a file"))

    def _file(self, path: str, size: int, rule: str) -> None:
        if path not in self._seen:
            self._seen.add(path)
            check_key(path)
            self.files.append(CodeFile(path, size, rule))

    def _check_link(self, path: str, parents: tuple[Path, ...]) -> None:
        """Refuse a link that leads to nothing, out of the project, or back to where the walk came from."""
        full = self.project / path
        if not full.is_symlink():
            return
        real, here = _real(full), _real(full.parent)
        hint = "replace the link by what it points to, or name it in .launcherignore"
        if not real.exists():
            raise LinkRefused(f"the link {path} points to nothing", hint)
        if self.real_project not in (real, *real.parents):
            raise LinkRefused(f"the link {path} leads out of the project", hint)
        if real in (*parents, here, *here.parents):
            raise LinkRefused(f"the link {path} leads back to a folder that it lies in", hint)

    def _rule(self, path: str, is_folder: bool) -> tuple[str, bool]:
        name = path.rpartition("/")[2]
        if name in ALWAYS_OUT or name.endswith(ALWAYS_OUT_SUFFIXES):
            return "always left out", True
        if self.data and is_folder and _real(self.project / path) == self.data:
            return DATA_RULE, True
        return self._rules.check(path + "/" if is_folder else path) or ("code.include", False)


class _Rules:
    """The ignore files of a project, and of the folders above it up to the root of its git checkout."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.top = next((folder for folder in (project, *project.parents) if (folder / ".git").exists()), project)
        above = project.relative_to(self.top).as_posix()
        self.prefix = "" if above == "." else above + "/"
        self._files: dict[str, _Ignore | None] = {}

    def check(self, path: str) -> tuple[str, bool] | None:
        """The rule that decides on ``path`` (a folder ends with ``/``) and whether it is out."""
        path = self.prefix + path
        for name in IGNORE_FILES:
            folder = path.rstrip("/")
            while folder:
                folder = folder.rpartition("/")[0]
                base = folder + "/" if folder else ""
                ignore = self._ignore_file(base + name)
                verdict = ignore.check(path[len(base) :]) if ignore else None
                if verdict and not self._meant_all(ignore, base, verdict):
                    return verdict
        return None

    def _meant_all(self, ignore: _Ignore | None, base: str, verdict: tuple[str, bool]) -> bool:
        """Whether a file above the project names the project itself, which is in because a person asked for it."""
        rest = self.prefix[len(base) :]
        return bool(ignore and rest and self.prefix.startswith(base) and ignore.check(rest) == verdict)

    def _ignore_file(self, path: str) -> _Ignore | None:
        if path not in self._files:
            full = self.top / path
            shown = Path(os.path.relpath(full, self.project)).as_posix()
            self._files[path] = _Ignore(full, shown) if full.is_file() else None
        return self._files[path]


class _Ignore:
    """One ignore file; patterns are git's (pathspec)."""

    def __init__(self, path: Path, shown: str) -> None:
        from pathspec import GitIgnoreSpec

        text = path.read_text("utf-8-sig", "replace").splitlines()
        self.lines = [(number, line) for number, line in enumerate(text, 1) if line]
        self.shown = shown
        self.spec = GitIgnoreSpec.from_lines(line for _, line in self.lines)

    def check(self, path: str) -> tuple[str, bool] | None:
        """The rule that decides on ``path`` and whether it is out; None where no line matches."""
        result = self.spec.check_file(path)
        if result.include is None or result.index is None:
            return None
        number, line = self.lines[result.index]
        return f"{self.shown}:{number}: {line}", result.include


def _real(path: Path) -> Path:
    """Without links; a link that leads in a circle is left as it is, where ``Path.resolve`` would fail."""
    return Path(os.path.realpath(path))


def _allowed(paths: frozenset[str], files: list[CodeFile]) -> set[str]:
    """The paths of ``--allow-secret`` as the snapshot writes them; each must name a file of it."""
    known = {file.path for file in files}
    allowed = {posixpath.normpath(path.replace(os.sep, "/")): path for path in sorted(paths)}
    for path, given in allowed.items():
        if path not in known:
            near = nearest(path, known)
            hint = near if near.startswith("did you mean") else "submit --dry-run shows the files"
            raise UsageError(f"--allow-secret {given}: the code has no such file", hint)
    return set(allowed)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LauncherError(f"cannot read {path}: {error.strerror}", f"ls -l {path}") from None


def _check_limits(files: list[CodeFile]) -> None:
    hint = "name what the job does not need in .launcherignore"
    if len(files) > MAX_FILES:
        raise UsageError(f"the code is {len(files)} files; ModelArts takes at most {MAX_FILES}", hint)
    deepest = max(files, key=lambda file: file.path.count("/"), default=None)
    if deepest and deepest.path.count("/") + 1 > MAX_DEPTH:
        raise UsageError(f"{deepest.path} lies deeper than the {MAX_DEPTH} levels that ModelArts takes", hint)
    size = sum(file.size or 0 for file in files)
    if size > MAX_BYTES:
        raise UsageError(f"the code is {size / 1e9:.1f} GB; ModelArts takes at most 5 GB", hint)


def _check_boot_file(path: str, content: bytes, script: bool) -> Iterator[str]:
    """Compile the boot file: a syntax error costs a queue's wait on the cloud, and nothing here."""
    if content.lstrip()[:1] == b"<":
        raise LauncherError(f"{path} is an HTML or XML page, not Python", "download the script itself, not its page")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(content, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        raise LauncherError(
            f"{path}:{line}: the boot file does not compile: {what}", f"python -m py_compile {path}"
        ) from None
    if script and b"parse_args(" in content and b"parse_known_args(" not in content:
        yield f"{path}: parse_args() refuses arguments that it does not know; ModelArts may add some"
