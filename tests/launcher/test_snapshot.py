"""Which code goes up, and why."""

from __future__ import annotations

import hashlib
import os

import pytest


def plan(cli, *words):
    answer = cli("submit", "tiny", "--dry-run", "--json", *words)
    assert answer.code == 0, answer
    return answer.json


def paths(listing):
    return {item["path"] for item in listing}


@pytest.fixture
def tiny(project):
    project.job("tiny", "print(1)\n", code={"include": ["."]})
    return project


def write(project, **files):
    for name, text in files.items():
        path = project.root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_rules_and_their_order(tiny, cli):
    root = tiny.root
    (root / ".gitignore").write_text("# a comment\n\n*.ckpt\nbuild/\n/only-top.txt\n")
    (root / ".launcherignore").write_text("notes/\n!keep.ckpt\n")
    (root / "sub").mkdir()
    (root / "sub" / ".gitignore").write_text("!special.ckpt\nhere.txt\n")
    for name in ("a.ckpt", "keep.ckpt", "only-top.txt", "here.txt", "sub/a.ckpt", "sub/special.ckpt", "sub/here.txt"):
        (root / name).write_text("x")
    (root / "sub" / "only-top.txt").write_text("x")
    for folder in ("build", "notes", "sub/build", ".git", "__pycache__", "sub/.venv"):
        (root / folder).mkdir()
        (root / folder / "x").write_text("x")
    code = plan(cli)["code"]
    assert paths(code["files"]) == {
        ".gitignore", ".launcherignore", "here.txt", "jobs/tiny/job.yaml", "jobs/tiny/main.py", "keep.ckpt",
        "sub/.gitignore", "sub/only-top.txt", "sub/special.ckpt",
    }  # fmt: skip
    rules = {item["path"]: item["rule"] for item in code["files"] + code["excluded"]}
    assert rules["a.ckpt"] == ".gitignore:3: *.ckpt"
    assert rules["build/"] == ".gitignore:4: build/"
    assert rules["notes/"] == ".launcherignore:1: notes/"
    assert rules["keep.ckpt"] == ".launcherignore:2: !keep.ckpt"
    assert rules["sub/here.txt"] == "sub/.gitignore:2: here.txt"
    assert rules[".git/"] == "always left out"


def test_every_file_has_its_size(tiny, cli):
    sizes = {item["path"]: item["size"] for item in plan(cli)["code"]["files"]}
    assert sizes["jobs/tiny/main.py"] == len("print(1)\n")


def test_the_hash_follows_the_content_alone(tiny, cli):
    first = plan(cli)["code"]["hash"]
    os.utime(tiny.root / "jobs" / "tiny" / "main.py", (1, 1))
    assert plan(cli)["code"]["hash"] == first
    (tiny.root / "jobs" / "tiny" / "main.py").write_text("print(2)\n")
    assert plan(cli)["code"]["hash"] != first


def test_windows_line_ends_are_sent_as_unix_ones(tiny, cli):
    (tiny.root / "run.sh").write_bytes(b"echo 1\r\necho 2\r\n")
    (tiny.root / "table.csv").write_bytes(b"a\r\n")
    unix = plan(cli)
    assert any("run.sh" in note for note in unix["notes"])
    assert cli("submit", "tiny").code == 0
    code = next(path for path in (tiny.home / "buckets/local/launcher/code").iterdir() if path.is_dir())
    assert (code / "run.sh").read_bytes() == b"echo 1\necho 2\n"
    assert (code / "table.csv").read_bytes() == b"a\r\n"
    assert (tiny.root / "run.sh").read_bytes() == b"echo 1\r\necho 2\r\n", "the user's own file is not touched"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", "A=1"),
        ("id_rsa", "x"),
        ("deploy/server.pem", "x"),
        ("credentials.csv", "User Name,Access Key Id,Secret Access Key"),
        ("a.py", "-----BEGIN PRIVATE KEY-----"),
        ("a.py", "x = 1\nSK='Zx9Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0LzXcVbNm12'"),
        ("a.yaml", "huaweicloud_sdk_ak: QWERTYUIOP1234ASDFGH"),
        ("a.json", '{"security_token": "gAAAAB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV"}'),
        ("a.ipynb", 'mox.file.set_auth(ak=\\"QWERTYUIOP1234ASDFGH\\"'),
        ("a.txt", "AKIAIOSFODNN7EXAMPLE"),
    ],
)
def test_what_looks_like_a_secret_stops_the_submit(name, text, tiny, cli):
    write(tiny, **{name.replace("/", "__"): text})
    answer = cli("submit", "tiny")
    assert answer.code == 1
    assert answer.err.startswith(f"error: {name}")
    assert f"--allow-secret {name}" in answer.err
    for part in text.replace('"', "'").split("'"):
        assert len(part) < 20 or part not in answer.err, "the secret itself is shown"
    assert not tiny.home.exists()
    assert cli("submit", "tiny", "--dry-run", "--allow-secret", name).code == 0


@pytest.mark.parametrize(
    "text",
    [
        "access_key = os.environ['ACCESS_KEY']",
        "secret_access_key = 'your_secret_access_key_goes_here'",
        "set_auth(ak='Access Key', sk='Secret Access Key')",
        "token = tokenizer(text_with_a_long_name)",
        "sk = sklearn_model_selection_module",
        "key: value",
        "password = getpass.getpass()",
        "sha256 = 'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db'",
    ],
)
def test_what_only_talks_of_secrets_does_not(text, tiny, cli):
    write(tiny, **{"a.py": text})
    assert cli("submit", "tiny", "--dry-run").code == 0


@pytest.mark.parametrize("target", ["/etc/hostname", "nowhere", "..", "."])
def test_links_that_lead_out_or_nowhere_are_refused(target, tiny, cli):
    (tiny.root / "link").symlink_to(target)
    answer = cli("submit", "tiny")
    assert answer.code == 1 and "link" in answer.err
    assert not tiny.home.exists()


def test_links_inside_are_sent_as_what_they_point_to(tiny, cli):
    (tiny.root / "real").mkdir()
    (tiny.root / "real" / "x.txt").write_text("text")
    (tiny.root / "linked").symlink_to("real")
    (tiny.root / "y.txt").symlink_to("real/x.txt")
    assert {"linked/x.txt", "y.txt", "real/x.txt"} <= paths(plan(cli)["code"]["files"])
    assert cli("submit", "tiny").code == 0
    code = next(path for path in (tiny.home / "buckets/local/launcher/code").iterdir() if path.is_dir())
    assert (code / "linked" / "x.txt").read_text() == "text" and not (code / "linked").is_symlink()


def test_the_platforms_limits(tiny, cli):
    (tiny.root / "many").mkdir()
    for i in range(1000):
        (tiny.root / "many" / f"{i}.txt").write_text("")
    answer = cli("submit", "tiny")
    assert answer.code == 2 and "1000" in answer.err and ".launcherignore" in answer.err
    (tiny.root / ".launcherignore").write_text("many/\n")
    deep = tiny.root.joinpath(*["d"] * 33)
    deep.mkdir(parents=True)
    (deep / "x").write_text("")
    answer = cli("submit", "tiny")
    assert answer.code == 2 and "32 levels" in answer.err


def test_a_boot_file_that_a_rule_keeps_out(tiny, cli):
    (tiny.root / ".gitignore").write_text("main.py\n")
    answer = cli("submit", "tiny")
    assert answer.code == 2 and ".gitignore:1: main.py" in answer.err


def test_the_bucket_holds_what_the_plan_said(tiny, cli):
    code = plan(cli)["code"]
    assert cli("submit", "tiny").code == 0
    folder = tiny.home / "buckets/local/launcher/code" / code["hash"]
    stored = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert stored == paths(code["files"])
    for name in stored:
        ours, theirs = (tiny.root / name).read_bytes(), (folder / name).read_bytes()
        assert hashlib.sha256(ours).digest() == hashlib.sha256(theirs).digest()
