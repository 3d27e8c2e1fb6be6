"""The secret guard: what must not leave the machine inside a code snapshot.

Two tables: names of files that hold keys by convention, and shapes of keys inside text. A hit is reported with its
place and a masked value, and stops the submit; ``--allow-secret PATH`` lets one file through.
"""

from __future__ import annotations

import fnmatch
import re

import msgspec

NAMES = (
    ".env", ".env.*", "*.pem", "*.p12", "*.pfx", "*.key", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc",
    ".pypirc", ".npmrc", ".git-credentials", "credentials", "credentials.csv", "credentials.json", ".obsutilconfig",
)  # fmt: skip
"""``credentials.csv`` is what the Huawei Cloud console gives a person who makes an access key."""
HARMLESS_NAMES = (".env.example", ".env.sample", ".env.template", "*.pub.pem")

_QUOTE = r"(?:\\?[\"'])?"  # in a notebook, a quote has a backslash before it
_KEY = rf"{_QUOTE}(?P<value>[A-Za-z0-9+/=_-]{{16,}}){_QUOTE}"
_WORDS = (
    r"(?:access[_-]?key(?:[_-]?id)?|secret[_-]?(?:access[_-]?)?key|security[_-]?token|"
    r"(?:huaweicloud|obs|aws|s3|cloud)\w*?[_-](?:ak|sk)|\b(?:ak|sk)\b|password|passwd|api[_-]?key)"
)
SHAPES = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?P<value>)")),
    ("an access or secret key", re.compile(rf"(?i){_WORDS}{_QUOTE}\s*[:=]\s*{_KEY}")),
    ("an AWS access key", re.compile(r"\b(?P<value>(?:AKIA|ASIA)[A-Z0-9]{16})\b")),
    ("a token", re.compile(r"\b(?P<value>gh[pousr]_[A-Za-z0-9]{36,}|hf_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{40,})\b")),
)
QUICK = re.compile(rb"(?i)PRIVATE KEY-----|key|token|passw|\b[as]k\b|_[as]k\b|AKIA|ASIA|gh[pousr]_|hf_|pypi-")
MAX_BYTES = 4 << 20
"""Larger files are data, not configuration; they are judged by name alone."""


class Secret(msgspec.Struct, frozen=True):
    """Where something that looks like a secret stands; ``masked`` shows no more than its ends."""

    path: str
    line: int
    kind: str
    masked: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place} looks like {self.kind}" + (f" ({self.masked})" if self.masked else "")


def find_secrets(path: str, content: bytes) -> list[Secret]:
    """What looks like a secret in a file of that name and content."""
    name = path.rsplit("/", 1)[-1]
    if _matches(name, NAMES) and not _matches(name, HARMLESS_NAMES):
        return [Secret(path, 0, "a file of credentials, by its name", "")]
    if len(content) > MAX_BYTES or b"\0" in content[:4096] or not QUICK.search(content):
        return []
    found = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        for kind, shape in SHAPES:
            hit = shape.search(line)
            if hit and (not hit["value"] or _random(hit["value"])):
                found.append(Secret(path, number, kind, mask(hit["value"])))
                break
    return found


def mask(value: str) -> str:
    """``AB…YZ, 40 characters``."""
    return f"{value[:2]}…{value[-2:]}, {len(value)} characters" if value else ""


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name.lower(), pattern) for pattern in patterns)


def _random(value: str) -> bool:
    """Keys mix digits with letters and repeat little; ``your_secret_access_key`` and names of variables do not."""
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and len(set(value)) >= 10
