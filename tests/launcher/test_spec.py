"""What a job file and a settings file say: the line, the key and the hint of each error; one spelling; who wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import spec
from launcher.errors import SpecError, UsageError
from launcher.paths import Home
from launcher.settings import load_settings, user_file
from launcher.spec import JobSpec

HEAD = "name: in\nboot_file: jobs/in/main.py\n"  # two lines
WRONG = {
    # the rest of the file: line, the message after it, what the hint says
    "environment:\n  AA: x\n  BB: y\n  CC: 1\n": (6, "environment.CC: expected str, got int", "quotes"),
    "environment:\n  AA: x\n  BB: true\n  CC: 1\n": (5, "environment.BB: expected str, got bool", "quotes"),
    "environment:\n  AA: x\n  7: y\n": (5, "environment.7: the key 7 must be text", "docs/"),
    "environment:\n  AA: x\n  B-B: y\n": (5, "environment.B-B: the name of a variable", "docs/"),
    "environment:\n  AA: x\n  MA_B: y\n": (5, "environment.MA_B: 'MA_B' begins with MA_", "docs/"),
    "environment:\n  AA: x\n  BB: [y]\n": (5, "environment.BB: expected str, got array", "docs/"),
    "parameters:\n  a: 1\n  b: 2\n  c: [1]\n": (6, "parameters.c: expected bool", "docs/"),
    "parameters:\n  a: 1\n  b.c: 2\n  b: {c: 1}\n": (6, "parameters.b: expected bool", "docs/"),
    "parameters:\n  a: 1\n  b: 1\n  b b: 2\n": (6, "parameters.b b: 'b b' cannot be passed", "docs/"),
    "parameters:\n  a: 1\n  b: 1\n  'b: b': 2\n": (6, "parameters.b: b: 'b: b' cannot be passed", "docs/"),
    "parameters:\n  a: 1\n  data_url: 2\n": (5, "parameters.data_url: 'data_url' is the job", "docs/"),
    "parameters:\n  name: 1\n  a: .nan\n": (5, "parameters.a: nan is no finite number", "docs/"),
    "parameters:\n  name: 1\n  a: 1e999\n": (5, "parameters.a: inf is no finite number", "docs/"),
    "parameters:\n  a: 1\n  b: " + "9" * 5000 + "\n": (
        5,
        "parameters.b: too long a number: 5000 digits",
        "at most 300",
    ),
    'parameters:\n  a: 1\n  b: "x\\0"\n': (5, "parameters.b: the text has a NUL", "escape"),
    'parameters:\n  a: 1\n  b: "\\ud800"\n': (5, "not YAML: found invalid Unicode character escape", "mend that line"),
    "\ntime_limit: 5x\n": (4, "time_limit: '5x' is no duration", "docs/"),
    "# time_limit\ntime_limit: 5x\n": (4, "time_limit: '5x' is no duration", "docs/"),
    "parameters:\n  time_limit: 1\ntime_limit: 5x\n": (5, "time_limit: '5x' is no duration", "docs/"),
    "contract: New\n": (3, "contract: 'New' is none of the allowed values: new, old", "did you mean 'new'?"),
    "contract: OLD\n": (3, "contract: 'OLD' is none of the allowed values: new, old", "did you mean 'old'?"),
    "contract: 7\n": (3, "contract: 7 is none of the allowed values: new, old", "known: new, old"),
    "code:\n  include:\n  - a\n  - 7\n": (6, "code.include[1]: expected str, got int", "quotes"),
    "code:\n  include:\n  - a\n  - ../b\n": (6, "code.include[1]: '../b' must be a path inside", "docs/"),
    "requires:\n- numpy\n- mindspore>=1.7\n": (5, "requires[1]: 'mindspore>=1.7' is no name of a module", "docs/"),
    "requires:\n- numpy\n- \n": (5, "requires[1]: expected str, got nothing", "docs/"),
    "resources:\n  flavor: x\n  nodes: " + "9" * 5000 + "\n": (5, "resources.nodes: too long a number", "at most 300"),
    "resources:\n  flavor: x\n  node: 1\n": (5, "unknown key 'node' in resources", "did you mean 'nodes'?"),
    "parameters:\n  a: 1\n  <<:\n    c c: 1\n": (6, "parameters.c c: 'c c' cannot", "docs/"),
    "parameters:\n  <<: {a: [1]}\n  a: [2]\n": (5, "parameters.a: expected bool", "docs/"),
    "environment: &e\n  CC: 1\n": (4, "environment.CC: expected str, got int", "quotes"),
    "paramters:\n  a: 1\n": (3, "unknown key 'paramters'", "did you mean 'parameters'?"),
    "7: x\n": (3, "7: the key 7 must be text", "docs/"),
    "~: x\n": (3, "None: the key None must be text", "docs/"),
    "data: !!bool x\n": (3, "'x' is no true or false", "!!"),
    "data: a\n# \x07\n": (4, "not YAML: control characters are not allowed", "UTF-8"),
}


def mistake(text: str, folder: Path) -> SpecError:
    path = folder / "job.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as found:
        spec.read(path)
    return found.value


@pytest.mark.parametrize("rest", WRONG, ids=lambda rest: ascii(rest)[1:60])
def test_a_mistake_has_its_line_its_key_and_a_hint(rest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line, message, hint = WRONG[rest]
    error = mistake(HEAD + rest, tmp_path)
    assert error.message.startswith(f"job.yaml:{line}: {message}")
    assert hint in error.hint
    assert len(error.message) < 250
    error.message.encode()


def test_the_own_mistakes_of_name_and_boot_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mistake("\nname: a b\nboot_file: a.py", tmp_path).message.startswith("job.yaml:2: name: 'a b' must")
    assert mistake("name: a\n\nboot_file: a.sh", tmp_path).message.startswith("job.yaml:3: boot_file: 'a.sh' is")
    assert mistake("description: a\nname: a\n", tmp_path).message == "job.yaml:1: the key 'boot_file' is missing"


@pytest.mark.parametrize("path", ["./jobs/in/main.py", "jobs//in/main.py", "jobs/in/./main.py", "jobs/in/main.py/"])
def test_a_path_has_one_spelling(path, project, cli):
    assert JobSpec(name="in", boot_file=path).boot_file == "jobs/in/main.py"
    project.job("in", "print(1)\n", boot_file=path, code={"include": ["./jobs//in/"]})
    read = spec.read(project.root / "jobs" / "in" / "job.yaml")
    assert (read.boot_file, read.code.include) == ("jobs/in/main.py", ["jobs/in"])
    answer = cli("submit", "in", "--dry-run", "--json")
    assert answer.code == 0, answer.err
    whole = spec.Code(include=["."])
    assert whole.include == ["."]


@pytest.mark.parametrize("module", ["mindspore", "a.b_c.d2", "名字"])
def test_names_of_modules(module):
    assert JobSpec(name="in", boot_file="a.py", requires=[module]).requires == [module]


@pytest.mark.parametrize("module", ["", ".", "a.", ".a", "a-b", "a b", "a/b", "a==1", "1a", "a\0"])
def test_what_is_no_name_of_a_module(module):
    with pytest.raises(ValueError, match=r"^requires\[0\]: "):
        JobSpec(name="in", boot_file="a.py", requires=[module])


@pytest.mark.parametrize("text", ["a\0b", "a\udcffb"])
@pytest.mark.parametrize("key", ["parameters", "environment"])
def test_text_that_can_be_no_argument(key, text):
    with pytest.raises(ValueError, match=f"^{key}\\.x: the text "):
        JobSpec(name="in", boot_file="a.py", **{key: {"x": text}})
    with pytest.raises(ValueError, match=f"^{key}\\.a.*: the text ") as found:
        JobSpec(name="in", boot_file="a.py", **{key: {text: "x"}})
    str(found.value).encode()


JOB = JobSpec(name="in", boot_file="a.py", parameters={"n": 1, "lr": 0.1, "word": "x", "free": None})


@pytest.mark.parametrize(
    "assignment",
    ["lr=1e999", "lr=.nan", "lr=-.inf", "free=.nan", "free=1e999", "n=.inf", "word=\udcff", "\udcff=1", "word=a\0"],
)
def test_a_set_that_is_refused(assignment):
    with pytest.raises(UsageError) as found:
        spec.override(JOB, [assignment])
    assert found.value.hint
    (found.value.message + found.value.hint).encode()


@pytest.mark.parametrize("name", ["n", "lr", "free"])
def test_a_set_with_too_long_a_number(name):
    with pytest.raises(UsageError, match="too long a number") as found:
        spec.override(JOB, [f"{name}={'9' * 5000}"])
    assert "at most 300 digits" in found.value.hint
    assert spec.override(JOB, ["word=" + "9" * 5000]).parameters["word"] == "9" * 5000


def test_a_set_that_is_taken():
    taken = spec.override(JOB, ["lr=1e-3", "n=010", "word=.nan", "free=手写"]).parameters
    assert taken == {"lr": 0.001, "n": 10, "word": ".nan", "free": "手写"}


@pytest.fixture
def files(project):
    """Write the user's and the project's settings."""

    def write(user: str, own: str) -> Home:
        user_file().parent.mkdir(parents=True, exist_ok=True)
        user_file().write_text(user)
        (project.root / "launcher.yaml").write_text(own)
        return Home(project.root)

    return write


def test_the_project_says_the_default_and_wins(files, monkeypatch):
    home = files("target: modelarts\npython: /user\n", "target: local\npython: ''\n")
    settings = load_settings(home)
    assert (settings.target, settings.python) == ("local", "")
    monkeypatch.setenv("LAUNCHER_PYTHON", "/environment")
    assert load_settings(home).python == "/environment"
    assert load_settings(home, python="/flag").python == "/flag"


def test_what_the_project_leaves_out_the_user_says(files):
    assert load_settings(files("python: /user\n", "target: local\n")).python == "/user"
    assert load_settings(files("python: /user\n", "")).python == "/user"
    assert load_settings(files("", "")).python == ""


def test_an_empty_target_is_an_error(files):
    with pytest.raises(UsageError, match="there is no target ''"):
        load_settings(files("", ""), target="")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\ntarget: 7\n", ":2: target: expected str, got int"),
        ("\ntarget:\n", ":2: target: expected str, got nothing"),
        ("\npyton: x\n", ":2: unknown key 'pyton'"),
        ('\npython: "\\0"\n', ":2: python: the text has a NUL"),
    ],
)
def test_a_wrong_settings_file(text, message, files):
    home = files("", text)
    with pytest.raises(SpecError) as found:
        load_settings(home)
    assert f"launcher.yaml{message}" in found.value.message
