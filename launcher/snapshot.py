"""Which code goes up, and why: ignore rules, secret guard, line ends, limits, hash.

The rules, first match first:

1. what no job ever needs (``ALWAYS_OUT``: version control, virtual environments, caches) stays out;
2. the ``.gitignore`` and ``.launcherignore`` files of the project, nearest folder first, ``.launcherignore`` over
   ``.gitignore`` (so ``!weights.ckpt`` there brings back what git ignores); within a file the last match counts, as in
   git;
3. everything else under ``code.include`` goes up.

Links follow the policy of ``storage.manifest``: inside the project they are sent as what they point to, others are
refused. Python and shell files with Windows line ends are sent with Unix ones. The limits are ModelArts' own.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from launcher.errors import LauncherError, SecretFound, UsageError
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
IGNORE_FILES = (".gitignore", ".launcherignore")
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


def take(job: Job, allow_secrets: frozenset[str] = frozenset()) -> Snapshot:
    """Look at the job's code and decide; reads every file, writes nothing.

    Raises SecretFound, UsageError (a limit, a boot file left out), LauncherError (the boot file does not compile) and
    storage's LinkRefused and UnsafeKey.
    """
    walk = _Walk(job.project)
    for path in code_paths(job):
        walk.add(path)
    _check_limits(walk.files)
    entries, rewritten, secrets, notes = [], {}, [], []
    for file in walk.files:
        content = _read(job.project / file.path)
        if file.path not in allow_secrets:
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
        rule = next((f.rule for f in walk.excluded if job.spec.boot_file.startswith(f.path)), "no rule")
        raise UsageError(f"the boot file {job.spec.boot_file} is kept out by {rule}", "change that rule")
    if any(entry.path.rsplit("/", 1)[-1] == "pip-requirements.txt" for entry in entries):
        notes.append("pip-requirements.txt is installed by ModelArts before the start, and not by the local target")
    sizes = {entry.path: entry.size for entry in entries}
    files = [CodeFile(file.path, sizes[file.path], file.rule) for file in walk.files]
    return Snapshot(job.project, files, walk.excluded, Manifest(entries), rewritten, notes)


class _Walk:
    """The project's files in order, each with its rule; folders that are out are not entered."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.real_project = project.resolve()
        self.files: list[CodeFile] = []
        self.excluded: list[CodeFile] = []
        self._ignores: dict[str, list[_Ignore]] = {}
        self._seen: set[str] = set()

    def add(self, path: str) -> None:
        """Walk one of ``code.include``; what stands there itself is in, whatever the rules say of it."""
        full = self.project / path
        path = "" if path == "." else path.strip("/")
        if full.is_dir():
            self._folder(path, (full.resolve(),))
        else:
            self._file(path, full.lstat().st_size, "code.include")

    def _folder(self, folder: str, parents: tuple[Path, ...]) -> None:
        with os.scandir(self.project / folder) as listing:
            items = sorted(listing, key=lambda item: item.name)
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            is_folder = self._check_link(item, path, parents) if item.is_symlink() else item.is_dir()
            rule, out = self._rule(path, item.name, is_folder)
            if out:
                size = None if is_folder else item.stat().st_size
                self.excluded.append(CodeFile(path + "/" if is_folder else path, size, rule))
            elif is_folder:
                self._folder(path, (*parents, (self.project / path).resolve()))
            elif item.is_file():
                self._file(path, item.stat().st_size, rule)
            else:
                self.excluded.append(CodeFile(path, None, "not a file"))

    def _file(self, path: str, size: int, rule: str) -> None:
        if path not in self._seen:
            self._seen.add(path)
            check_key(path)
            self.files.append(CodeFile(path, size, rule))

    def _check_link(self, item: os.DirEntry[str], path: str, parents: tuple[Path, ...]) -> bool:
        real = Path(item.path).resolve()
        hint = "replace the link by what it points to, or name it in .launcherignore"
        if self._rule(path, item.name, False)[1]:
            return False
        if not real.exists():
            raise LinkRefused(f"the link {path} points to nothing", hint)
        if self.real_project not in real.parents:
            raise LinkRefused(f"the link {path} leads out of the project", hint)
        if real in parents:
            raise LinkRefused(f"the link {path} leads back to a folder that it lies in", hint)
        return real.is_dir()

    def _rule(self, path: str, name: str, is_folder: bool) -> tuple[str, bool]:
        if name in ALWAYS_OUT or name.endswith(ALWAYS_OUT_SUFFIXES):
            return "always left out", True
        probe = path + "/" if is_folder else path
        folder = path.rpartition("/")[0]
        while True:
            for ignore in self._ignore_files(folder):
                verdict = ignore.check(probe[len(folder) + 1 :] if folder else probe)
                if verdict:
                    return verdict
            if not folder:
                return "code.include", False
            folder = folder.rpartition("/")[0]

    def _ignore_files(self, folder: str) -> list[_Ignore]:
        if folder not in self._ignores:
            found = [(self.project / folder / name, f"{folder}/{name}".lstrip("/")) for name in reversed(IGNORE_FILES)]
            self._ignores[folder] = [_Ignore(path, shown) for path, shown in found if path.is_file()]
        return self._ignores[folder]


class _Ignore:
    """One ignore file; patterns are git's (pathspec)."""

    def __init__(self, path: Path, shown: str) -> None:
        from pathspec import GitIgnoreSpec

        text = path.read_text("utf-8", "replace").splitlines()
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
