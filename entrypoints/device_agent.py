"""What the launcher runs on a host over ssh: look around, receive files, run, send files back.

Stands alone, with Python 3.6 and the standard library: its text is the first thing that goes through the connection. A
request is a line of JSON on stdin; an answer is a line that begins with MARK on stdout, so that whatever a login prints
is no answer. After `receive`, and in the answer to `send`, the bytes of the files follow each other without a gap.

Files are received into PROJECT/.incoming-NAME, where a connection that breaks leaves them for the next try, checked
against their sha256, and appear as a whole: PROJECT/releases/NAME is renamed into place. `settle` makes PROJECT/current
a link to it. Two at once do not meet: a folder that is received into is locked, and so is a release that is in use.
"""

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any, BinaryIO, Dict, List

MARK = "@launcher "
CHUNK = 1 << 20
KEPT_RELEASES = 2
TAIL = 4000

SET_ENV = (
    "$ASCEND_TOOLKIT_HOME/set_env.sh", "$ASCEND_HOME_PATH/set_env.sh", "$ASCEND_TOOLKIT_HOME/../set_env.sh",
    "~/Ascend/ascend-toolkit/set_env.sh", "/usr/local/Ascend/ascend-toolkit/set_env.sh",
    "~/Ascend/cann/set_env.sh", "/usr/local/Ascend/cann/set_env.sh",
    "~/Ascend/nnrt/set_env.sh", "/usr/local/Ascend/nnrt/set_env.sh",
    "~/Ascend/latest/set_env.sh", "/usr/local/Ascend/latest/set_env.sh",
)  # fmt: skip
"""Where CANN's script for the environment lies, newest first."""
OLD_ACL = ("~/Ascend/pyACL/python/site-packages/acl", "~/Ascend/acllib/lib64")
"""Where an Atlas 200 DK of the 20.x releases has it: no script, two folders."""


SCRATCH: List[str] = []
"""Folders to be removed when the conversation ends, however it does."""
LOCKS: List[int] = []
"""Descriptors of locked folders, which the end of this process frees."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Refused(Exception):
    """What cannot be done, and what mends it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def environment() -> str:
    """The shell's words that make CANN usable, or nothing where there is none."""
    for pattern in SET_ENV:
        path = os.path.expanduser(os.path.expandvars(pattern))
        if "$" not in path and os.path.isfile(path):
            return ". " + quoted(os.path.normpath(path))
    modules, libraries = (os.path.expanduser(path) for path in OLD_ACL)
    if os.path.isdir(modules) and os.path.isdir(libraries):
        words = "export PYTHONPATH={}:$PYTHONPATH LD_LIBRARY_PATH={}:{}:$LD_LIBRARY_PATH"
        return words.format(quoted(modules), quoted(libraries), quoted(os.path.expanduser("~/ascend_ddk/arm/lib")))
    return ""


def probe(request: Dict[str, Any], stdin: BinaryIO) -> Dict[str, Any]:
    """What this host is, and has."""
    folder = place(request["folder"])
    code = (
        "import importlib.util as u, json, sys; names = sys.argv[1:];"
        "print('@m ' + json.dumps({n: u.find_spec(n) is not None for n in names}))"
    )
    modules = ["numpy", "PIL", "acl", "onnxruntime"]
    found = shell([sys.executable, "-c", code, *modules], folder="/", words=request.get("env") or environment())
    lines = [line for line in found["stdout"].splitlines() if line.startswith("@m ")]
    there = folder
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    return {
        "python": list(sys.version_info[:3]),
        "executable": sys.executable,
        "machine": os.uname().machine,
        "modules": json.loads(lines[-1][3:]) if lines else dict.fromkeys(modules, False),
        "env": request.get("env") or environment(),
        "free": shutil.disk_usage(there).free,
        "writable": os.access(there, os.W_OK),
        "folder": folder,
        "atc": find_atc(),
        "davinci": bool(glob.glob("/dev/davinci[0-9]*")),
    }


def find_atc() -> str:
    """How ATC is called here, once the environment is set; empty if it is not here."""
    found = shell(["/bin/sh", "-c", "command -v atc || true"], folder="/", words=environment())
    lines = [line.strip() for line in found["stdout"].splitlines() if line.strip().endswith("atc")]
    return lines[-1] if lines else ""


def receive(request: Dict[str, Any], stdin: BinaryIO) -> Dict[str, Any]:
    """Files into releases/NAME. Bytes that are here already are not sent."""
    root = place(request["folder"])
    name, files = request["release"], request["files"]
    if request.get("scratch"):
        SCRATCH.append(root)
    release, incoming = os.path.join(root, "releases", name), os.path.join(root, ".incoming-" + name)
    whole = False
    current = os.path.join(root, "current")
    if os.path.lexists(current) and not os.path.islink(current):
        raise Refused("{} is there, and is no link of ours".format(current), "pass another folder: --folder FOLDER")
    os.makedirs(os.path.join(root, "releases"), exist_ok=True)
    if os.path.isdir(release):
        locked(release, fcntl.LOCK_SH)
        whole = all(is_there(os.path.join(release, path), *rest) for path, *rest in files)
        if not whole:
            os.close(LOCKS.pop())
            os.rename(release, incoming) if not os.path.isdir(incoming) else shutil.rmtree(release)
    if not whole:
        incoming = claimed(incoming)
    try:
        return filled(root, release, "" if whole else incoming, files, stdin)
    except OSError as error:
        if error.errno in FULL:
            shutil.rmtree(incoming, ignore_errors=True)  # a full disk is no place for half a release
        raise


def filled(root: str, release: str, incoming: str, files: List[Any], stdin: BinaryIO) -> Dict[str, Any]:
    """The same, by way of the folder `incoming`; that is empty if the release is here and whole."""
    offsets = [held(root, incoming, path, size, sha) if incoming else size for path, size, sha in files]
    missing = sum(size for _, size, _ in files) - sum(offsets)
    free = shutil.disk_usage(root).free
    if missing > free:
        shutil.rmtree(incoming)
        raise Refused("{} has {} bytes free, and {} are to come".format(root, free, missing), "free some space there")
    answer({"offsets": offsets})
    if incoming:
        for (path, size, sha), offset in zip(files, offsets):
            take(stdin, os.path.join(incoming, path), size, sha, offset)
        try:
            os.rename(incoming, release)
            fcntl.flock(LOCKS[-1], fcntl.LOCK_SH)
        except OSError:
            if not os.path.isdir(release):
                raise
            shutil.rmtree(incoming, ignore_errors=True)  # another conversation has brought the same meanwhile
            locked(release, fcntl.LOCK_SH)
    return {"done": True, "sent": missing}


def settle(request: Dict[str, Any], stdin: BinaryIO) -> Dict[str, Any]:
    """Make a release the current one, and remove the oldest of the others."""
    root, name = place(request["folder"]), request["release"]
    point(os.path.join(root, "current"), os.path.join("releases", name))
    clean(root, name)
    return {"done": True}


def claimed(incoming: str) -> str:
    """This folder, locked, with what an earlier try has left in it; a new one if another conversation has it."""
    if not locked(incoming):
        incoming = "{}-{}".format(incoming, os.getpid())
        locked(incoming)
    return incoming


def locked(folder: str, how: int = fcntl.LOCK_EX) -> bool:
    """Whether a folder, which is made if need be, is ours until the end; it is where locks are not known."""
    os.makedirs(folder, exist_ok=True)
    LOCKS.append(os.open(folder, os.O_RDONLY))
    try:
        fcntl.flock(LOCKS[-1], how | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True


def held(root: str, incoming: str, path: str, size: int, sha: str) -> int:
    """How many bytes of a file are here: all, if an earlier release has it; some, if a connection broke."""
    target = os.path.join(incoming, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if is_there(target, size, sha):
        return size
    earlier = os.path.join(root, "current", path)
    if is_there(earlier, size, sha):
        shutil.copyfile(earlier, target)
        return size
    part = target + ".part"
    have = os.path.getsize(part) if os.path.isfile(part) else 0
    if have > size:
        os.unlink(part)
    return have if have <= size else 0


def take(stdin: BinaryIO, target: str, size: int, sha: str, offset: int) -> None:
    """The rest of a file from the connection; it appears when its sha256 is right."""
    if is_there(target, size, sha):
        return
    part = target + ".part"
    with open(part, "ab") as file:
        while offset < size:
            data = stdin.read(min(CHUNK, size - offset))
            if not data:
                raise Refused("the connection ended within {}".format(target), "run the same command again")
            file.write(data)
            offset += len(data)
        file.flush()
        os.fsync(file.fileno())
    if not is_there(part, size, sha):
        os.unlink(part)
        raise Refused("{} did not arrive as it was sent".format(target), "run the same command again")
    os.replace(part, target)


def run(request: Dict[str, Any], stdin: BinaryIO) -> Dict[str, Any]:
    """Run a command in a folder, in CANN's environment."""
    return shell(request["command"], place(request["folder"]), request.get("env", ""))


def send(request: Dict[str, Any], stdin: BinaryIO) -> Dict[str, Any]:
    """Files back: their paths, sizes and sha256 first, then their bytes."""
    root = place(request["folder"])
    found = []
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            found.append((os.path.relpath(path, root), os.path.getsize(path), digest(path)))
    answer({"files": found})
    for path, _, _ in found:
        with open(os.path.join(root, path), "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, CHUNK)
    sys.stdout.buffer.flush()
    return {"done": True}


def shell(command: List[str], folder: str, words: str) -> Dict[str, Any]:
    """Run a command after the shell's words; bash if there is one, which CANN's scripts are written for."""
    name = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    script = ("{ " + words + "\n} >/dev/null\n" if words else "") + 'exec "$@"'
    # The login has read .bashrc; bash would do it again, and let it talk into the answer, for a child of sshd.
    environ = {key: value for key, value in os.environ.items() if key not in ("SSH_CLIENT", "SSH2_CLIENT")}
    done = subprocess.Popen(
        [name, "-c", script, name, *command], cwd=folder, env=environ, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = done.communicate()
    return {"code": done.returncode, "stdout": out.decode("utf-8", "replace"),
            "stderr": err.decode("utf-8", "replace")[-TAIL:]}  # fmt: skip


def clean(root: str, name: str) -> None:
    """Keep the newest releases with their results, and nothing of broken transfers. What is not ours stays."""
    releases = os.path.join(root, "releases")
    names = [other for other in os.listdir(releases) if other != name and re.fullmatch("[0-9a-f]{20}", other)]
    others = [os.path.join(releases, other) for other in names]
    others.sort(key=os.path.getmtime)
    for old in others[: max(0, len(others) - KEPT_RELEASES + 1)]:
        if not locked(old):
            continue
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(os.path.join(root, "outputs", os.path.basename(old)), ignore_errors=True)
    for left in glob.glob(os.path.join(glob.escape(root), ".incoming-*")):
        if locked(left):
            shutil.rmtree(left, ignore_errors=True)


def point(link: str, target: str) -> None:
    """Make or replace a link at once."""
    temporary = "{}.{}".format(link, os.getpid())
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)


def is_there(path: str, size: int, sha: str) -> bool:
    """Whether a file is there, and what it should be."""
    return os.path.isfile(path) and os.path.getsize(path) == size and digest(path) == sha


def digest(path: str) -> str:
    """The sha256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            found.update(chunk)
    return found.hexdigest()


def place(folder: str) -> str:
    """A folder as the user wrote it: relative to the home folder."""
    return os.path.normpath(os.path.join(os.path.expanduser("~"), os.path.expanduser(folder)))


def quoted(text: str) -> str:
    """One word for the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def answer(value: Dict[str, Any]) -> None:
    """A line back."""
    sys.stdout.buffer.write((MARK + json.dumps(value) + "\n").encode())
    sys.stdout.buffer.flush()


DEEDS = {"probe": probe, "receive": receive, "settle": settle, "run": run, "send": send}


def main() -> None:
    """Requests until the connection ends, or one fails: what follows a broken `receive` is no request."""
    stdin = sys.stdin.buffer
    sys.stdout.buffer.write(b"\n")  # a login may have left its line open
    try:
        for line in iter(stdin.readline, b""):
            request = json.loads(line.decode())
            answer(DEEDS[request["do"]](request, stdin))
    except Refused as error:
        answer({"error": str(error), "hint": error.hint})
    except OSError as error:
        hint = "free some space there" if error.errno in FULL else "look at that folder there: ls -ld"
        answer({"error": "{}: {}".format(error.filename or "a file there", error.strerror or error), "hint": hint})
    finally:
        for folder in SCRATCH:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
