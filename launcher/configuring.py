"""Settings as a person sees and writes them: every value with its origin, the user file, the cloud SDKs' key file.

The user file is written whole, with mode 0600, and holds no secret; only ``--store-keys`` writes keys, and into the
cloud SDKs' own file, which they and the OBS client read as well.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from launcher.errors import LauncherError, SpecError, UsageError
from launcher.settings import Profile, Settings, masked_url, user_file

HIDDEN = "****"
ENDPOINTS = ("modelarts_endpoint", "iam_endpoint", "endpoint")


class Row(NamedTuple):
    """One value in force."""

    key: str
    value: str
    origin: str


def rows(settings: Settings) -> list[Row]:
    """Every value and where it is from; of secrets, that they are set."""
    made = _endpoints(settings)
    found = []
    for key in settings.origins:
        value, origin = getattr(settings, key), settings.origins[key]
        if not value and made.get(key):
            value, origin = made[key], f"made from the region {settings.region}"
        if key in settings.refused:
            origin += f"; launcher.yaml says {masked_url(settings.refused[key])}, which you have not said"
        found.append(Row(key, masked_url(value), origin))
    return found + _keys(settings)


def _endpoints(settings: Settings) -> dict[str, str]:
    """Those in force; of settings that make none, nothing."""
    from launcher.modelarts.place import endpoints

    if not settings.region:
        return {}
    try:
        return dict(zip(ENDPOINTS, endpoints(settings), strict=True))
    except UsageError:
        return {}


def _keys(settings: Settings) -> list[Row]:
    """The keys in force, hidden. The access key's last four characters tell one from another; of the rest, nothing."""
    from launcher.modelarts.place import find_keys
    from storage.errors import StorageError
    from storage.obs import ObsSettings
    from storage.obs.credentials import Credentials

    try:
        keys = find_keys(settings)
    except UsageError as error:
        return [Row("access key", "", error.message)]
    if not keys.origin:
        return [Row("access key", "", "not set")]
    found = [Row("IAM token", HIDDEN, keys.origin)] if keys.token else []
    if settings.credentials == "ecs" or "iam_token" in keys.given:
        return [*found, Row("access key", HIDDEN, f"fetched when needed: {keys.origin}")]
    try:
        known = Credentials(ObsSettings(**keys.given)).current()
    except StorageError as error:
        return [*found, Row("access key", "", error.message)]
    found.append(Row("access key", hidden(known.access), keys.origin))
    found.append(Row("secret key", HIDDEN, keys.origin))
    if known.token:
        found.append(Row("security token", HIDDEN, keys.origin))
    return found + [Row("note", note, "") for note in keys.notes]


def hidden(key: str) -> str:
    """``****A1B2`` of an access key; of one so short that this would tell much, only ``****``."""
    return HIDDEN + (key[-4:] if len(key) >= 16 else "")


def changed(settings: Settings, changes: Mapping[str, str], profile: str) -> Settings:
    """The settings as they would be after `write_user_file`, to check them before."""
    from msgspec.structs import replace

    if profile and not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", profile):
        raise UsageError(f"{profile!r} is no name for a profile", "letters, digits, - and _")
    usual = Settings()
    if not profile:
        keys = {key: value or getattr(usual, key) for key, value in changes.items()}
        refused = {key: value for key, value in settings.refused.items() if key not in keys}
        origins = {**settings.origins, **dict.fromkeys(keys, "your answer")}
        return replace(settings, **keys, origins=origins, refused=refused)
    row = replace(settings.profiles.get(profile, Profile()), **changes)
    empty = {key: getattr(usual, key) for key in Profile.__struct_fields__ if key != "keys"}
    given = {key: value for key in empty if (value := getattr(row, key))}
    whole = {**empty, **given}
    profiles = {**settings.profiles, profile: row}
    origins = {**settings.origins, **dict.fromkeys(whole, f"profile {profile}")}
    return replace(settings, **whole, profile=profile, profiles=profiles, origins=origins, refused={})


def write_user_file(changes: Mapping[str, str], profile: str = "") -> tuple[Path, Path | None]:
    """Put the values into the user file, or into one profile of it; an empty one takes the key out.

    The file, and the copy of what it was if that had comments, which YAML's writer does not keep.
    """
    import yaml

    from launcher.yamlfile import load

    for key, value in changes.items():
        if key == "proxy" and "@" in value:
            raise UsageError(
                "a proxy with a password is a secret, and no file of ours holds one", "export LAUNCHER_PROXY=..."
            )
    path = user_file()
    before = path.read_text("utf-8") if path.is_file() else ""
    content: Any = load(path, dict) if before else {}
    if not isinstance(content, dict):
        raise SpecError(f"{path}:1: not a mapping", f"mend or remove {path}")
    part = content
    if profile:
        part = content.setdefault("profiles", {}).setdefault(profile, {})
    for key, value in changes.items():
        part.pop(key, None)
        if value:
            part[key] = value
    copy = None
    if re.search(r"(^|\s)#", before):
        copy = path.with_name(path.name + ".before")
        write_private(copy, before)
    write_private(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True) if content else "")
    return path, copy


def store_keys(access: str, secret: str, token: str, project_id: str = "") -> Path:
    """Write keys into ``[basic]`` of the cloud SDKs' own file; what else it has stays. For ``--store-keys`` alone."""
    import configparser
    import io

    from launcher.modelarts.place import credentials_file

    path = Path(credentials_file())
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, configparser.Error, UnicodeDecodeError):
        raise LauncherError(f"{path} is there and cannot be read", f"move it away: mv {path} {path}.before") from None
    if not parser.has_section("basic"):
        parser.add_section("basic")
    for name, value in (("ak", access), ("sk", secret), ("security_token", token), ("project_id", project_id)):
        if value:
            parser.set("basic", name, value)
        elif name == "security_token":
            parser.remove_option("basic", name)
    text = io.StringIO()
    parser.write(text)
    write_private(path, text.getvalue())
    return path


def write_private(path: Path, text: str) -> None:
    """Write beside, then rename; nobody else can read it at any moment."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(prefix=path.name + ".", dir=path.parent)  # mkstemp makes it 0600
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
