"""What a person prefers: flag > environment > project file > user file > default; every value with its origin.

Project file: ``launcher.yaml`` beside ``jobs/``. User file: ``config.yaml`` in ``$XDG_CONFIG_HOME/modelarts-launcher``
(``~/.config/modelarts-launcher``). Environment: ``LAUNCHER_`` and the key in capitals, and the clouds' own names.
Keys of an account never stand in a settings file: a profile says which environment variables hold them.

A profile is an account, whole. Its values count right after whoever chose it (a flag, a variable, a file), and what
stands further down says nothing about accounts: one account's keys never meet another one's endpoint or project.

A project file comes with a ``git clone``, so it may not lead a person's keys anywhere: an endpoint, a proxy or a
certificate in it counts if it is Huawei's own, or if the person's own file has the same (``_is_trusted``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from launcher.errors import UsageError, nearest
from launcher.paths import ROOT, Home
from launcher.targets import TARGETS

STORAGES = ("local", "obs")
"""Where ``obs://`` URLs may lead."""
CLIENTS = ("sdk", "modelarts-sdk")
"""What can submit to ModelArts: huaweicloudsdkmodelarts, or Huawei's wheel of notebooks."""
CREDENTIALS = ("auto", "ecs", "sts", "anonymous")
"""Where keys come from, as ``storage.obs`` names it."""


def _says(meaning: str) -> msgspec.Meta:
    return msgspec.Meta(description=meaning)


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another account; only the user file has profiles."""

    endpoint: Annotated[str, _says("Where its OBS is.")] = ""
    region: Annotated[str, _says("Its region's id; enough where the endpoints are Huawei's.")] = ""
    modelarts_endpoint: Annotated[str, _says("Where its ModelArts is.")] = ""
    iam_endpoint: Annotated[str, _says("Where its IAM is.")] = ""
    project_id: Annotated[str, _says("Its project in the region.")] = ""
    bucket: Annotated[str, _says("The bucket for code, data and output.")] = ""
    root: Annotated[str, _says("The folder of ours in the bucket.")] = ""
    workspace: Annotated[str, _says("ModelArts' workspace.")] = ""
    pool: Annotated[str, _says("A dedicated resource pool's id.")] = ""
    client: Annotated[str, _says("sdk or modelarts-sdk.")] = ""
    ca_file: Annotated[str, _says("More certificates to trust, in PEM.")] = ""
    proxy: Annotated[str, _says("http://host:port.")] = ""
    credentials: Annotated[str, _says("auto, ecs, sts or anonymous.")] = ""
    keys: Annotated[str, _says("Prefix of the variables with its keys: X_ACCESS_KEY_ID, X_SECRET_ACCESS_KEY.")] = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every key that a settings file may hold, and where each value is from."""

    target: Annotated[str, _says("Where runs execute.")] = "local"
    python: Annotated[str, _says("The interpreter of local runs; empty: the launcher's own.")] = ""
    storage: Annotated[str, _says("Where obs:// URLs lead: local or obs.")] = "local"
    region: Annotated[str, _says("Huawei Cloud's region; makes the endpoints that are not given.")] = ""
    endpoint: Annotated[str, _says("Of OBS.")] = ""
    modelarts_endpoint: Annotated[str, _says("Of ModelArts; needed in private clouds only.")] = ""
    iam_endpoint: Annotated[str, _says("Of IAM; needed in private clouds only.")] = ""
    project_id: Annotated[str, _says("The project in the region; empty: IAM is asked.")] = ""
    bucket: Annotated[str, _says("The bucket for code, data and output of ModelArts' runs.")] = ""
    root: Annotated[str, _says("The folder of ours in the bucket.")] = ROOT
    workspace: Annotated[str, _says("ModelArts' workspace (工作空间).")] = "0"
    pool: Annotated[str, _says("A dedicated resource pool's id (专属资源池); empty: the public pool.")] = ""
    client: Annotated[str, _says("What submits: sdk, or modelarts-sdk where Huawei's wheel is installed.")] = "sdk"
    ca_file: Annotated[str, _says("More certificates to trust, in PEM.")] = ""
    proxy: Annotated[str, _says("http://host:port; empty: what HTTPS_PROXY and NO_PROXY say.")] = ""
    profile: Annotated[str, _says("The account, of profiles:; empty: none of them.")] = ""
    credentials: Annotated[
        str, _says("Where keys come from: auto, ecs, sts or anonymous; never in a project's file.")
    ] = "auto"
    profiles: Annotated[dict[str, Profile], _says("Accounts, by name.")] = {}
    trusted: Annotated[list[str], _says("What project files may name.")] = []
    origins: dict[str, str] = {}
    """Key -> ``--region``, ``$OBS_REGION``, ``launcher.yaml``, ``profile work``, ``default`` …"""
    refused: dict[str, str] = {}
    """What the project's file says and may not; the target and the storage must both be local then."""

    @property
    def account(self) -> Profile | None:
        """The profile in force."""
        return self.profiles[self.profile] if self.profile else None


def user_file() -> Path:
    """Where a person's own settings lie."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(base) / "modelarts-launcher" / "config.yaml"


def project_file(home: Home) -> Path:
    """Where a project's settings lie."""
    return home.project / "launcher.yaml"


def load_settings(home: Home, **flags: str | None) -> Settings:
    """The settings in force; ``flags`` that are None were not given. SpecError and UsageError name the place."""
    user, project = _read(user_file(), _UserFile), _read(project_file(home), _File)
    profiles, trusted = user.pop("profiles", {}), user.pop("trusted", [])
    refused = {} if not project else _distrusted(project, user, profiles, trusted)
    layers = [
        _Layer({key: flag for key, flag in flags.items() if flag is not None}, "--"),
        _Layer(_environment(), "$"),
        _Layer({key: value for key, value in project.items() if key not in refused}, "launcher.yaml"),
        _Layer(user, _home_relative(user_file())),
    ]
    chosen = next((index for index, layer in enumerate(layers) if "profile" in layer.values), None)
    if chosen is not None and not layers[chosen].values["profile"]:
        chosen = None  # said to be none of them
    if chosen is not None:
        layers.insert(chosen + 1, _profile(str(layers[chosen].values["profile"]), profiles))
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    ranks: dict[str, int] = {}
    for key, default in DEFAULTS.items():
        values[key], origins[key], ranks[key] = default, "default", len(layers)
        for rank, layer in enumerate(layers):
            if chosen is not None and rank > chosen + 1 and key in _ACCOUNT:
                break
            if key in layer.values:
                values[key], origins[key], ranks[key] = layer.values[key], layer.origin(key), rank
                break
    _note_cloud_endpoint(values, origins, ranks)
    _move(values, origins, ranks)
    heeded = chosen is None or chosen >= 2  # the project's file, of accounts
    in_force = {key: value for key, value in refused.items() if heeded and ranks[key] > 2}
    settings = Settings(**values, profiles=profiles, trusted=trusted, origins=origins, refused=in_force)
    check_settings(settings)
    return settings


def refuse_distrusted(settings: Settings) -> None:
    """UsageError if the project's file would lead keys to where their owner never said; before any request."""
    for key, given in settings.refused.items():
        value = masked_url(given)
        hint = f"if that is right: export LAUNCHER_{key.upper()}={value}, or add it under trusted: in {user_file()}"
        raise UsageError(f"launcher.yaml: {key}: {value} would see your requests, and you have not said so", hint)


def check_settings(settings: Settings) -> None:
    """UsageError for values that cannot be."""
    for key, known in (("target", TARGETS), ("storage", STORAGES), ("client", CLIENTS), ("credentials", CREDENTIALS)):
        value = getattr(settings, key)
        if value not in known:
            article = "are no" if key == "credentials" else "is no"
            raise UsageError(f"there {article} {key} {value!r}", nearest(value, known))
    if settings.region and not re.fullmatch(_REGION, settings.region):
        raise UsageError(f"{settings.region!r} is no region's id", "write it as cn-north-4")
    if (settings.target, settings.storage) != ("local", "local"):
        refuse_distrusted(settings)


def masked_url(url: str) -> str:
    """Without the name and the password in it."""
    return re.sub(r"//[^/@]*@", "//****@", url)


def variables(key: str) -> tuple[str, ...]:
    """The variables that set a key, the strongest first."""
    return (f"LAUNCHER_{key.upper()}", *_VARIABLES.get(key, ()))


def is_huaweis(url: str, service: str = "[a-z]+") -> bool:
    """Whether an endpoint is one of Huawei's public cloud: its host, over TLS."""
    pattern = rf"(https://)?{service}\.{_REGION}\.myhuaweicloud\.(com|cn|eu)(:443)?/?"
    return re.fullmatch(pattern, url) is not None


class _Layer(NamedTuple):
    values: Mapping[str, Any]
    name: str

    def origin(self, key: str) -> str:
        if self.name == "--":
            return "--" + key.replace("_", "-")
        return "$" + _variable(key) if self.name == "$" else self.name


_REGION = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_VARIABLES = {
    "endpoint": ("OBS_ENDPOINT",),
    "region": ("OBS_REGION",),
    "iam_endpoint": ("HUAWEICLOUD_SDK_IAM_ENDPOINT", "OBS_IAM_ENDPOINT"),
    "project_id": ("HUAWEICLOUD_SDK_PROJECT_ID",),
    "ca_file": ("OBS_CA_FILE",),
    "proxy": ("OBS_PROXY",),
    "credentials": ("OBS_CREDENTIALS",),
}
"""Other variables that set a key, the first one that is set; the launcher's own wins."""
_SERVICES = {"endpoint": "obs", "modelarts_endpoint": "modelarts", "iam_endpoint": "iam"}
_GUARDED = (*_SERVICES, "ca_file", "proxy")
"""What decides who sees a person's signed requests and tokens."""
_ACCOUNT = frozenset(Profile.__struct_fields__)
DEFAULTS = {name: value for name, value in msgspec.structs.asdict(Settings()).items() if isinstance(value, str)}
_UNSET: Any = msgspec.UNSET
_TEXTS: list[Any] = [(key, str | msgspec.UnsetType, _UNSET) for key in DEFAULTS if key != "credentials"]
_OWN: list[Any] = [
    ("credentials", str | msgspec.UnsetType, _UNSET),
    ("profiles", dict[str, Profile] | msgspec.UnsetType, _UNSET),
    ("trusted", list[str] | msgspec.UnsetType, _UNSET),
]
_File: Any = msgspec.defstruct("_File", _TEXTS, frozen=True, forbid_unknown_fields=True)
"""What the project's file says: a key that it has counts even where it says the default."""
_UserFile: Any = msgspec.defstruct("_UserFile", [*_TEXTS, *_OWN], frozen=True, forbid_unknown_fields=True)


def _read(path: Path, shape: Any) -> dict[str, Any]:
    """The keys that a file has."""
    if not path.is_file():
        return {}
    from launcher.yamlfile import load

    given = msgspec.structs.asdict(load(path, shape))
    return {key: value for key, value in given.items() if value is not _UNSET}


def _environment() -> dict[str, str]:
    return {key: os.environ[name] for key in DEFAULTS if (name := _variable(key))}


def _variable(key: str) -> str:
    """The variable that sets a key here; empty where none does."""
    return next((name for name in variables(key) if os.environ.get(name)), "")


def _profile(name: str, profiles: Mapping[str, Profile]) -> _Layer:
    row = profiles.get(name)
    if row is None:
        hint = nearest(name, profiles) or f"name it under profiles: in {user_file()}"
        raise UsageError(f"there is no profile {name!r}", hint)
    given = msgspec.structs.asdict(row)
    return _Layer({key: value for key, value in given.items() if value}, f"profile {name}")


def _distrusted(
    project: Mapping[str, Any], user: Mapping[str, Any], profiles: Mapping[str, Profile], trusted: list[str]
) -> dict[str, str]:
    """The project's values that its user has not named: see `_GUARDED`."""
    found = {}
    for key in _GUARDED:
        value = project.get(key)
        if value and not (key in _SERVICES and is_huaweis(value, _SERVICES[key])):
            known = {_plain(str(user.get(key, ""))), *map(_plain, trusted)}
            known.update(_plain(getattr(row, key)) for row in profiles.values())
            if _plain(value) not in known:
                found[key] = value
    return found


def _plain(url: str) -> str:
    return url.rstrip("/")


def _note_cloud_endpoint(values: dict[str, Any], origins: dict[str, str], ranks: dict[str, int]) -> None:
    """The cloud SDK's variable for one service of one region (huaweicloudsdkcore, region/provider.py)."""
    name = "HUAWEICLOUD_SDK_REGION_MODELARTS_" + values["region"].upper().replace("-", "_")
    found = os.environ.get(name, "").split(",")[0].strip()
    if found and ranks["modelarts_endpoint"] > 1 and origins["modelarts_endpoint"].partition(" ")[0] != "profile":
        values["modelarts_endpoint"], origins["modelarts_endpoint"] = found, f"${name}"
        ranks["modelarts_endpoint"] = 1


def _move(values: dict[str, Any], origins: dict[str, str], ranks: Mapping[str, int]) -> None:
    """Huawei's endpoint of another region, from further down than the region, has nothing to say."""
    for key, service in _SERVICES.items():
        if ranks["region"] < ranks[key] and is_huaweis(values[key], service):
            values[key], origins[key] = "", origins["region"]


def _home_relative(path: Path) -> str:
    """A path as a person would write it."""
    home = os.path.expanduser("~")
    return "~" + str(path)[len(home) :] if str(path).startswith(home + os.sep) else str(path)
