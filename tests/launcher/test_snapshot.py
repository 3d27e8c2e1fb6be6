"""Which code goes up, and why."""

from __future__ import annotations

import hashlib
import os

import pytest

from launcher.jobs import find_job
from launcher.paths import Home
from launcher.snapshot import take


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
        "sk = sklearn_model_v2_best_estimator",
        "key: value",
        "password = getpass.getpass()",
        "sha256 = 'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db'",
    ],
)
def test_what_only_talks_of_secrets_does_not(text, tiny, cli):
    write(tiny, **{"a.py": text})
    assert cli("submit", "tiny", "--dry-run").code == 0


LINKS = [
    ("/etc/hostname", "out of"),
    ("nowhere", "to nothing"),
    ("..", "out of"),
    (".", "back"),
    ("link", "to nothing"),
]


@pytest.mark.parametrize(("target", "why"), LINKS)
def test_links_that_lead_out_or_back_or_nowhere_are_refused(target, why, tiny, cli):
    (tiny.root / "link").symlink_to(target)
    answer = cli("submit", "tiny")
    assert answer.code == 1 and "the link link " in answer.err and why in answer.err
    assert not tiny.home.exists()


def test_a_link_to_the_project_leads_back(project, cli):
    project.job("tiny", "print(1)\n")
    (project.root / "jobs" / "tiny" / "self").symlink_to(project.root)
    answer = cli("submit", "tiny")
    assert answer.code == 1 and "jobs/tiny/self leads back" in answer.err


@pytest.mark.parametrize("include", ["ext", "ext/sub", "ext/sub/x.txt"])
def test_links_named_in_code_include_are_checked_too(include, project, cli, tmp_path):
    (tmp_path / "outside" / "sub").mkdir(parents=True)
    (tmp_path / "outside" / "sub" / "x.txt").write_text("x")
    (project.root / "ext").symlink_to(tmp_path / "outside")
    project.job("tiny", "print(1)\n", code={"include": ["jobs/tiny", include]})
    answer = cli("submit", "tiny")
    assert answer.code == 1 and "the link ext leads out" in answer.err


def test_a_boot_file_that_is_a_link_is_checked_too(project, cli, tmp_path):
    (tmp_path / "boot.py").write_text("print(1)\n")
    project.job("tiny", "print(1)\n", code={"include": ["jobs/tiny/main.py"]})
    boot = project.root / "jobs" / "tiny" / "main.py"
    boot.unlink()
    boot.symlink_to(tmp_path / "boot.py")
    answer = cli("submit", "tiny")
    assert answer.code == 1 and "jobs/tiny/main.py leads out" in answer.err


def test_links_that_are_kept_out_may_lead_anywhere(tiny, cli):
    (tiny.root / "x.pyc").symlink_to(tiny.root.parent / "no such place")
    (tiny.root / "gone").symlink_to("nowhere")
    (tiny.root / "outside").symlink_to("/etc")
    write(tiny, **{".launcherignore": "gone\noutside/\n"})
    assert {"x.pyc", "gone", "outside/"} <= paths(plan(cli)["code"]["excluded"])


def test_every_launcherignore_comes_before_every_gitignore(tiny, cli):
    write(tiny, **{".launcherignore": "!keep.ckpt\n*.log\n", "sub__.gitignore": "keep.ckpt\n!a.log\n"})
    write(tiny, **{"sub__keep.ckpt": "x", "sub__a.log": "x", "sub__near__.launcherignore": "!a.log\n"})
    write(tiny, **{"sub__near__a.log": "x", "sub__near__keep.ckpt": "x"})
    code = plan(cli)["code"]
    rules = {item["path"]: item["rule"] for item in code["files"] + code["excluded"]}
    assert rules["sub/keep.ckpt"] == rules["sub/near/keep.ckpt"] == ".launcherignore:1: !keep.ckpt"
    assert rules["sub/a.log"] == ".launcherignore:2: *.log"
    assert rules["sub/near/a.log"] == "sub/near/.launcherignore:1: !a.log"
    assert {"sub/keep.ckpt", "sub/near/keep.ckpt", "sub/near/a.log"} <= paths(code["files"])
    assert "sub/a.log" in paths(code["excluded"])


def test_a_byte_order_mark_does_not_void_the_first_line(tiny, cli):
    (tiny.root / ".gitignore").write_bytes(b"\xef\xbb\xbf*.ckpt\n")
    (tiny.root / "a.ckpt").write_text("x")
    assert "a.ckpt" in paths(plan(cli)["code"]["excluded"])


@pytest.fixture
def script(project):
    """A bare script two folders deep in a git checkout."""
    (project.root / ".git").mkdir()
    files = {"main.py": "print(1)\n", "a.ckpt": "x", "top.txt": "x", "out__x": "x"}
    write(project, **{f"deep__train__{name}": text for name, text in files.items()})
    return lambda cli: cli("submit", "--script", "deep/train/main.py", "--dry-run", "--json")


def test_ignore_files_above_the_project_count_up_to_the_git_root(script, project, cli):
    write(project, **{".gitignore": "*.ckpt\n/top.txt\n/deep/train/out/\n"})
    (project.root.parent / ".gitignore").write_text("*\n")
    code = script(cli).json["code"]
    assert paths(code["files"]) == {"main.py", "top.txt"}
    assert {item["path"]: item["rule"] for item in code["excluded"]} == {
        "a.ckpt": "../../.gitignore:1: *.ckpt",
        "out/": "../../.gitignore:3: /deep/train/out/",
    }


def test_ignore_files_above_do_not_count_without_a_git_root(script, project, cli):
    (project.root / ".git").rmdir()
    write(project, **{".gitignore": "*.ckpt\n"})
    assert "a.ckpt" in paths(script(cli).json["code"]["files"])


@pytest.mark.parametrize("pattern", ["train/", "deep/", "/deep/train"])
def test_a_script_in_a_folder_that_git_ignores_can_be_sent(pattern, script, project, cli):
    write(project, **{".gitignore": f"{pattern}\n"})
    assert "main.py" in paths(script(cli).json["code"]["files"])


@pytest.mark.parametrize("linked", [False, True])
def test_the_data_folder_is_no_code(linked, tiny, tmp_path):
    data = tmp_path / "elsewhere" if linked else tiny.root / "data"
    data.mkdir()
    (data / "x.bin").write_text("x")
    if linked:
        (tiny.root / "data").symlink_to(data)
    snapshot = take(find_job("tiny", Home(tiny.root)), data_folder=tiny.root / "data")
    assert "data/x.bin" not in {file.path for file in snapshot.files}
    assert ("data/", "the data (--data)") in {(file.path, file.rule) for file in snapshot.excluded}


def test_a_data_folder_that_code_include_names_is_no_code_either(project):
    project.job("tiny", "print(1)\n", code={"include": ["jobs/tiny", "data"]})
    write(project, **{"data__x.bin": "x"})
    snapshot = take(find_job("tiny", Home(project.root)), data_folder=project.root / "data")
    assert [(file.path, file.rule) for file in snapshot.excluded] == [("data/", "the data (--data)")]


@pytest.mark.parametrize("folder", [".", "jobs", "jobs/tiny", ".."])
def test_a_data_folder_with_the_boot_file_in_it_stays_code(folder, tiny):
    snapshot = take(find_job("tiny", Home(tiny.root)), data_folder=tiny.root / folder)
    assert "jobs/tiny/main.py" in {file.path for file in snapshot.files}


def test_an_allowed_secret_must_be_a_file_of_the_code(tiny, cli):
    write(tiny, **{"k.py": "-----BEGIN PRIVATE KEY-----"})
    assert cli("submit", "tiny", "--dry-run", "--allow-secret", "./k.py").code == 0
    answer = cli("submit", "tiny", "--dry-run", "--allow-secret", "kk.py")
    assert answer.code == 2 and "--allow-secret kk.py" in answer.err and "did you mean 'k.py'?" in answer.err
    assert cli("submit", "tiny", "--dry-run", "--allow-secret", "qqqqqqqqqqqq").code == 2


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
