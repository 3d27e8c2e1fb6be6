"""The secret guard: what must not leave the machine inside a code snapshot or on a command line.

Two tables: names of files that hold keys by convention, and shapes of keys inside text. A hit is reported with its
place and a masked value, and stops the submit; ``--allow-secret PATH`` lets one file through.

A shape finds a name (``SK``, ``OBS_SECRET``, ``api_key`` …) and the value given to it; whether the value is a key is
judged by ``_random``: Huawei Cloud's own are 20 capitals and digits (AK) or 40 letters and digits (SK).
"""

from __future__ import annotations

import codecs
import fnmatch
import re
from collections.abc import Iterator

import msgspec

NAMES = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.p12", "*.pfx", "*.key", "*.ppk", "id_rsa", "id_rsa.*", "id_dsa",
    "id_dsa.*", "id_ecdsa", "id_ecdsa.*", "id_ed25519", "id_ed25519.*", ".netrc", ".pypirc", ".npmrc", "kubeconfig",
    "*.kubeconfig", ".git-credentials", "credentials", "credentials*.csv", "credentials.json", "accesskey*.csv",
    "access[_-]key*.csv", ".obsutilconfig", "secrets.yaml", "secrets.yml",
)  # fmt: skip
"""``credentials.csv`` is what the Huawei Cloud console gives a person who makes an access key."""
HARMLESS_NAMES = (
    ".env.example", ".env.sample", ".env.template", "example.env", "sample.env", "template.env", "*.pub", "*.pub.pem",
)  # fmt: skip

_WORD = (
    r"[AaSsPpTtIiKk](?i:(?<=a)(?:ccess[_-]?key(?:[_-]?id)?|pi[_-]?key)|(?<=s)ecret(?:[_-]?(?:access[_-]?)?key)?|"
    r"(?<=p)ass(?:word|wd)|(?<=t)oken|(?<![a-z0-9].)(?<=[as])k|(?<=\s-[ik])(?==))\d{0,2}(?![A-Za-z0-9_])"
)
"""What a key is called, at the end of a name; ``-i=`` and ``-k=`` are obsutil's. A set comes first: that is quick."""
_QUOTE = r"(?:\\?[\"']){1,3}"  # in a notebook, a quote has a backslash before it
_KEY = r"(?P<value>[A-Z0-9+/][A-Z0-9+/=_-]{15,})(?![A-Z0-9+/=_-])"
_QUOTED = rf"[rbfu]{{0,2}}(?P<quote>{_QUOTE}){_KEY}"
_VALUE = rf"(?:[rbfu]{{1,2}}(?=\\?[\"']))?(?P<quote>{_QUOTE})?{_KEY}(?(quote)|(?!\w*[(\[]|\.\w))"
_GIVEN = rf"(?:{_QUOTE})?\]?[ \t]*(?::[ \t]*[a-z_][\w.\[\]| ]{{0,40}}=|:=|=>|[:=])[ \t]*(?:[(\[]\s*)?"
"""Between name and value: ``=``, ``": "``, ``"] =``, ``: str =``, ``= (``."""
SHAPES = (
    ("a private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?P<value>)"),
    ("an access or secret key", rf"{_WORD}(?i:{_GIVEN}{_VALUE})"),
    ("an access or secret key", rf"{_WORD}(?i:{_QUOTE}\s*,\s*{_QUOTED})"),
    ("an access or secret key", rf"--(?<![\w-]--)[\w-]{{0,40}}?{_WORD}[ \t]+(?i:{_VALUE})"),
    ("an access or secret key", rf"(?:ObsClient|Credentials)\w*\(\s*(?i:{_QUOTED})"),
    ("an AWS access key", r"(?P<value>A(?<!\wA)(?:KIA|SIA)[A-Z0-9]{16})\b"),
    ("a token", r"(?P<value>gh[pousr]_[A-Za-z0-9]{36,}|hf_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{40,})\b"),
    ("a URL with a password", r"://[^\s:/@\"'{}<>]{1,80}:(?P<value>[A-Za-z0-9._~%+=!*-]{8,})@[A-Za-z0-9\[]"),
)
_SHAPES = tuple((kind, re.compile(shape)) for kind, shape in SHAPES)
_SHORT = ("a private key", "a URL with a password")
"""Kinds that need no long word with a digit in it."""
_IN_WORDS = re.sub(rb"[^A-Za-z0-9+/=_-]", b" ", bytes(range(256)))
PIECE = 1 << 20
"""Bytes looked at for long words at once: every word takes memory."""
_DIGIT = re.compile(rb"[0-9]")
MAX_BYTES = 64 << 20
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
    """What looks like a secret in a file of that name and content, one a line."""
    name = path.rsplit("/", 1)[-1]
    if _matches(name, NAMES) and not _matches(name, HARMLESS_NAMES):
        return [Secret(path, 0, "a file of credentials, by its name", "")]
    text = _text(content)
    if text is None:
        return []
    found: dict[int, Secret] = {}
    for start, kind, value in _keys(text, is_python=name.lower().endswith((".py", ".pyi"))):
        line = text.count("\n", 0, start) + 1
        found.setdefault(line, Secret(path, line, kind, mask(value)))
    return [found[line] for line in sorted(found)]


def find_secret_in_value(name: str, value: str) -> Secret | None:
    """What looks like a secret in ``NAME=VALUE`` of a command line; the place in the answer is ``name``."""
    for _, kind, hit in _keys(f'{name}="{value}"\n{value}\n', is_python=False):
        return Secret(name, 0, kind, mask(hit))
    if re.search(rf"{_WORD}$", name) and len(value) >= 16 and _random(value):
        return Secret(name, 0, "an access or secret key", mask(value))
    return None


def mask(value: str) -> str:
    """``AB…YZ, 40 characters``; of a short one, no character at all."""
    ends = f"{value[:2]}…{value[-2:]}" if len(value) >= 16 else "…"
    return f"{ends}, {len(value)} characters" if value else ""


def _keys(text: str, is_python: bool) -> Iterator[tuple[int, str, str]]:
    """Where a secret's value begins, what it is, and the value. In Python, a word without quotes is a name."""
    may_have_long = _has_long_word(text)
    for kind, shape in _SHAPES:
        for hit in shape.finditer(text) if may_have_long or kind in _SHORT else ():
            groups = hit.groupdict()
            value = groups["value"]
            bare = is_python and "quote" in groups and not groups["quote"]
            judge = _cloud_key if bare else _mixed if "URL" in kind else _random
            if not value or judge(value):
                yield hit.start("value"), kind, value


def _has_long_word(text: str) -> bool:
    """Whether 16 characters of the kind that keys are made of stand together anywhere, a digit among them. Most files
    have none, and this is an eighth of the work of looking for the shapes."""
    words = text.encode("ascii", "replace").translate(_IN_WORDS)
    start = 0
    while start < len(words):
        end = words.find(b" ", start + PIECE)
        end = len(words) if end < 0 else end
        if any(_DIGIT.search(word) for word in words[start:end].split() if len(word) >= 16):
            return True
        start = end
    return False


def _text(content: bytes) -> str | None:
    """The file's text, by its byte order mark where it has one; None for what is no text."""
    if len(content) > MAX_BYTES:
        return None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return None if b"\0" in content[:4096] else content.decode("utf-8-sig", "replace")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in patterns)


def _mixed(value: str) -> bool:
    """Keys mix digits with letters; ``password`` and ``your_secret_access_key`` do not."""
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and len(set(value)) >= 6


def _cloud_key(value: str) -> bool:
    """An AK or SK of Huawei Cloud."""
    return bool(re.fullmatch(r"[A-Z0-9]{20}|[A-Za-z0-9]{40}", value)) and _mixed(value) and len(set(value)) >= 10


def _random(value: str) -> bool:
    """Keys change often between words and digits; ``skip_connection_block_1`` is made of long ones."""
    if _cloud_key(value):
        return True
    runs = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", value)
    longest_mean = 3.2 if re.search(r"[_/-]", value) else 5
    return _mixed(value) and len(set(value)) >= 8 and sum(map(len, runs)) / len(runs) < longest_mean
