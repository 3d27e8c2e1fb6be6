"""``config``: what is set and why, and setting it."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from launcher.cli.common import add_output_flags
from launcher.errors import ExitCode, UsageError
from launcher.output import Output

if TYPE_CHECKING:
    from launcher.checks import Check
    from launcher.modelarts.place import Place
    from launcher.settings import Settings

SUB_VERBS = {
    "show": "every setting in force; with --origin, where it is from",
    "init": "ask for the account's settings, check them online, write your config.yaml",
    "path": "print where your config.yaml lies",
}
INIT = (
    "Write region, project, bucket and where keys come from into your config.yaml, or into a profile of it. In a "
    "terminal what is missing is asked for; everything is checked online first. Secrets are not written: they stay in "
    "the environment or in the cloud SDKs' own file, which only --store-keys writes to."
)
ANSWERS = {
    "region": ("ID", "such as cn-north-4"),
    "project_id": ("ID", "the project in the region (default: IAM is asked for it)"),
    "bucket": ("NAME", "for code, data and output"),
    "root": ("FOLDER", "of ours in the bucket (default: launcher)"),
    "workspace": ("ID", "of ModelArts (default: 0)"),
    "pool": ("ID", "a dedicated resource pool; '' is the public pool"),
    "endpoint": ("URL", "of OBS, in a private cloud"),
    "modelarts_endpoint": ("URL", "of ModelArts, in a private cloud"),
    "iam_endpoint": ("URL", "of IAM, in a private cloud"),
    "ca_file": ("FILE", "more certificates to trust, in PEM"),
    "proxy": ("URL", "http://host:port"),
    "client": ("NAME", "what submits: sdk or modelarts-sdk"),
    "target": ("NAME", "where runs go by default: local or modelarts"),
    "storage": ("NAME", "where obs:// URLs lead by default: local or obs"),
}
KEYS = "env, file (~/.huaweicloud/credentials), ecs, sts, or with --profile a PREFIX of variables"


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="config_verb", metavar="VERB", title="verbs", required=True)
    show = verbs.add_parser(
        "show", help=SUB_VERBS["show"], description=f"Print {SUB_VERBS['show']}. Secrets stay hidden."
    )
    show.add_argument("--origin", action="store_true", help="where each value is from")
    show.add_argument("-P", "--profile", metavar="NAME", help="as it is with this profile")
    init = verbs.add_parser("init", help=SUB_VERBS["init"], description=INIT)
    for key, (metavar, text) in ANSWERS.items():
        init.add_argument("--" + key.replace("_", "-"), metavar=metavar, help=text)
    init.add_argument("--keys", metavar="SOURCE", help=KEYS)
    init.add_argument("-P", "--profile", metavar="NAME", help="write a profile of this name")
    init.add_argument(
        "--store-keys",
        action="store_true",
        help="write the keys (of the environment, or asked for) in clear into ~/.huaweicloud/credentials, mode 0600",
    )
    init.add_argument("--offline", action="store_true", help="check nothing online")
    path = verbs.add_parser("path", help=SUB_VERBS["path"], description="Print where your config.yaml lies.")
    for verb in (show, init, path):
        add_output_flags(verb)


def run(args: argparse.Namespace, out: Output) -> ExitCode:
    return {"show": _show, "init": _init, "path": _path}[args.config_verb](args, out)


def _show(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.configuring import rows
    from launcher.paths import Home
    from launcher.settings import load_settings

    found = rows(load_settings(Home.find(), profile=args.profile))
    if out.json_mode:
        out.json({row.key: {"value": row.value, "origin": row.origin} for row in found})
    elif args.origin:
        out.table(["KEY", "VALUE", "ORIGIN"], [[row.key, row.value or "-", row.origin or "-"] for row in found])
    else:
        out.table(["KEY", "VALUE"], [[row.key, row.value or "-"] for row in found])
        out.say("where each value is from: python -m launcher config show --origin")
    return ExitCode.OK


def _path(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.settings import user_file

    path = user_file()
    out.json({"path": str(path), "exists": path.is_file()}) if out.json_mode else out.data(str(path))
    return ExitCode.OK


def _init(args: argparse.Namespace, out: Output) -> ExitCode:
    from launcher.configuring import changed, write_user_file
    from launcher.modelarts.place import endpoints, find_place
    from launcher.paths import Home
    from launcher.settings import check_settings, load_settings

    asks = sys.stdin.isatty() and not out.json_mode
    profile = args.profile or ""
    given = {key: getattr(args, key) for key in ANSWERS if getattr(args, key) is not None}
    if profile:
        for key in ("target", "storage"):
            if given.pop(key, None):
                raise UsageError(f"--{key} is not a matter of one account", f"leave --{key} or --profile out")
    given.update(_source(args.keys, profile))
    settings = load_settings(Home.find())
    if args.store_keys:
        out.say(f"keys written to {_store(asks, args.project_id or '', out)}")
    if asks:
        given = _ask_for(given, settings, profile, args, out)
    candidate = changed(settings, given, profile)
    check_settings(candidate)
    if args.offline or asks:  # asked, each answer has been checked
        endpoints(candidate)
    else:
        place = find_place(candidate, needs_bucket=False)
        _online(place, ("keys", "endpoint", "project", *(["bucket"] if place.bucket else [])), out)
    path, copy = write_user_file(given, profile)
    if copy:
        out.say(f"what it was, with its comments: {copy}")
    if out.json_mode:
        out.json({"path": str(path), "profile": profile or None, "written": given})
    else:
        out.say(f"written: {path}")
        option = f" -P {profile}" if profile else ""
        out.say(f"next: python -m launcher doctor --target modelarts{option}")
    return ExitCode.OK


def _source(keys: str | None, profile: str) -> dict[str, str]:
    """``--keys`` as settings; UsageError where it leads to nothing."""
    from launcher.modelarts.place import PAIRS, credentials_file, read_credentials_file

    if keys is None:
        return {}
    if keys in ("ecs", "sts"):
        return {"credentials": keys}
    if keys == "env":
        if not any(all(os.environ.get(name) for name in pair) for pair in PAIRS):
            hint = "export HUAWEICLOUD_SDK_AK=... HUAWEICLOUD_SDK_SK=..."
            raise UsageError("--keys env: the environment has no pair of keys", hint)
        return {"credentials": ""}
    if keys == "file":
        if not read_credentials_file().get("ak"):
            raise UsageError(
                f"--keys file: {credentials_file()} has no keys", "python -m launcher config init --store-keys"
            )
        return {"credentials": ""}
    if not profile or not keys.replace("_", "").isalnum():
        raise UsageError("--keys is no source of keys that is known", KEYS)  # not repeated: it may be a key
    return {"keys": keys}


def _store(asks: bool, project_id: str, out: Output) -> str:
    """The keys of the environment, else those typed in, into the cloud SDKs' file; never from the command line."""
    from launcher.configuring import store_keys
    from launcher.modelarts.place import PAIRS

    tokens = ("OBS_SECURITY_TOKEN", "HUAWEICLOUD_SDK_SECURITY_TOKEN")
    for (access, secret), token in zip(PAIRS, tokens, strict=True):
        if os.environ.get(access) and os.environ.get(secret):
            return str(store_keys(os.environ[access], os.environ[secret], os.environ.get(token, ""), project_id))
    if not asks:
        raise UsageError(
            "--store-keys: the environment has no keys, and nobody can be asked", "export OBS_ACCESS_KEY_ID=..."
        )
    import getpass

    access = _answer("access key (AK)", "", out)
    secret = getpass.getpass("secret key (SK), not shown: ").strip()
    if not access or not secret:
        raise UsageError(
            "an access key and a secret key go together", "console > My Credentials (我的凭证) > Access Keys (访问密钥)"
        )
    return str(store_keys(access, secret, "", project_id))


def _ask_for(
    given: dict[str, str], settings: Settings, profile: str, args: argparse.Namespace, out: Output
) -> dict[str, str]:
    """What the flags leave open, each answer checked before the next question."""
    from launcher.configuring import changed
    from launcher.modelarts.place import find_keys, find_place

    found = dict(given)
    if args.keys is None and not find_keys(changed(settings, found, profile)).origin:
        found.update(_source(_answer("where keys come from: env, file, ecs or sts", "env", out), profile))
    questions = [
        ("region", "region's id", ("keys", "endpoint")),
        ("project_id", "project's id (empty: IAM is asked)", ("project",)),
        ("bucket", "bucket for code, data and output", ("bucket",)),
    ]
    for key, question, checks in questions:
        while True:
            if key not in given:
                found[key] = _answer(question, getattr(changed(settings, found, profile), key), out)
            try:
                place = find_place(changed(settings, found, profile), needs_bucket=False)
                if not args.offline:
                    _online(place, checks, out)
                break
            except UsageError as error:
                if key in given:
                    raise
                out.warn(f"{error.message} ({error.hint})" if error.hint else error.message)
                if _answer("keep it all the same? (y/n)", "n", out).lower() in ("y", "yes"):
                    break
                found.pop(key)
    return {key: value for key, value in found.items() if value or key in given}


def _answer(question: str, default: str, out: Output) -> str:
    out.stderr.write(f"{question}{f' [{default}]' if default else ''}: ")
    out.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        raise UsageError(
            "nobody answers: nothing was written", "python -m launcher config init --help has a flag for each"
        )
    return line.strip() or default


def _online(place: Place, names: tuple[str, ...], out: Output) -> None:
    """The doctor's checks of what was just said; UsageError for the first that fails."""
    from launcher.checks import guarded
    from launcher.modelarts import bucket, doctor

    def project() -> list[Check]:
        return list(doctor.check_access(place, doctor.Offer()))

    looks = {
        "keys": lambda: doctor.check_keys(place),
        "endpoint": lambda: doctor.check_endpoint(place),
        "project": project,
        "bucket": lambda: bucket.check_bucket(place),
    }
    for name in names:
        for check in guarded(name, looks[name]):
            if check.level == "fail":
                raise UsageError(f"{check.name}: {check.found}", check.hint)
            out.say(f"{check.level}: {check.name}: {check.found}")
