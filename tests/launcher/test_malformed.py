"""Wrong job files, command lines and data folders: two lines, exit code 1 or 2, nothing left behind, no traceback."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

GOOD = "name: tiny\nboot_file: jobs/tiny/main.py\ncode: {include: [jobs/tiny]}\n"

JOB_FILES = {
    # not YAML, or no mapping
    "empty": "",
    "only-null": "~",
    "a-list": "- name: tiny",
    "a-word": "tiny",
    "a-number": "7",
    "open-bracket": "name: [tiny",
    "open-brace": "name: {a: 1",
    "open-quote": 'name: "tiny',
    "tab-indent": "code:\n\tinclude: []",
    "bad-indent": "name: tiny\n  boot_file: x.py",
    "colon-in-word": "name: a: b",
    "two-documents": GOOD + "---\n" + GOOD,
    "key-twice": GOOD + "name: other\n",
    "nested-key-twice": GOOD + "resources: {nodes: 1, nodes: 2}\n",
    "unknown-alias": GOOD + "description: *nowhere\n",
    "recursive-alias": GOOD + "parameters: &p {a: *p}\n",
    "deep-nesting": GOOD + "parameters: " + "[" * 500 + "]" * 500,
    "python-tag": GOOD + "description: !!python/object/apply:os.system ['true']\n",
    "unknown-tag": GOOD + "description: !thing x\n",
    "nul-byte": GOOD + "description: a\0b\n",
    "control-byte": GOOD + "description: a\x07b\n",
    "bad-escape": GOOD + 'description: "\\q"\n',
    "percent": "%YAML 9.9\n---\n" + GOOD,
    "at-sign": GOOD + "description: @x\n",
    "complex-key": GOOD + "? [a, b]\n: 1\n",
    # keys
    "unknown-key": GOOD + "colour: red\n",
    "typo-parameters": GOOD + "paramters: {a: 1}\n",
    "typo-nested": GOOD + "resources: {node: 2}\n",
    "typo-code": "name: tiny\nboot_file: jobs/tiny/main.py\ncode: {includes: [jobs/tiny]}\n",
    "upper-case-key": GOOD + "Description: x\n",
    "numeric-key": GOOD + "7: x\n",
    "null-key": GOOD + "~: x\n",
    "no-name": "boot_file: jobs/tiny/main.py\n",
    "no-boot-file": "name: tiny\n",
    # types
    "name-number": GOOD.replace("name: tiny", "name: 7"),
    "name-list": GOOD.replace("name: tiny", "name: [tiny]"),
    "name-null": GOOD.replace("name: tiny", "name:"),
    "boot-file-list": GOOD.replace("boot_file: jobs/tiny/main.py", "boot_file: [a.py]"),
    "code-list": "name: tiny\nboot_file: jobs/tiny/main.py\ncode: [jobs/tiny]\n",
    "include-text": "name: tiny\nboot_file: jobs/tiny/main.py\ncode: {include: jobs/tiny}\n",
    "include-number": "name: tiny\nboot_file: jobs/tiny/main.py\ncode: {include: [7]}\n",
    "data-list": GOOD + "data: [mnist]\n",
    "data-number": GOOD + "data: 7\n",
    "parameters-list": GOOD + "parameters: [a]\n",
    "parameters-text": GOOD + "parameters: epochs=1\n",
    "parameter-list": GOOD + "parameters: {a: [1, 2]}\n",
    "parameter-mapping": GOOD + "parameters: {a: {b: 1}}\n",
    "environment-number": GOOD + "environment: {A: 1}\n",
    "environment-null": GOOD + "environment: {A: }\n",
    "environment-list": GOOD + "environment: [A=1]\n",
    "requires-text": GOOD + "requires: mindspore\n",
    "resources-number": GOOD + "resources: 2\n",
    "nodes-text": GOOD + "resources: {nodes: two}\n",
    "nodes-float": GOOD + "resources: {nodes: 1.5}\n",
    "nodes-bool": GOOD + "resources: {nodes: true}\n",
    "flavor-list": GOOD + "resources: {flavor: [Ascend]}\n",
    "time-limit-number": GOOD + "time_limit: 7200\n",
    "description-list": GOOD + "description: [a]\n",
    # values
    "name-empty": GOOD.replace("name: tiny", 'name: ""'),
    "name-space": GOOD.replace("name: tiny", "name: my job"),
    "name-slash": GOOD.replace("name: tiny", "name: a/b"),
    "name-dots": GOOD.replace("name: tiny", "name: .."),
    "name-long": GOOD.replace("name: tiny", "name: " + "x" * 41),
    "name-chinese": GOOD.replace("name: tiny", "name: 手写数字"),
    "name-dash-first": GOOD.replace("name: tiny", "name: -tiny"),
    "boot-file-absolute": GOOD.replace("jobs/tiny/main.py", "/etc/main.py", 1),
    "boot-file-climbs": GOOD.replace("jobs/tiny/main.py", "../main.py", 1),
    "boot-file-hidden-climb": GOOD.replace("jobs/tiny/main.py", "jobs/../../main.py", 1),
    "boot-file-no-python": GOOD.replace("jobs/tiny/main.py", "jobs/tiny/main.sh", 1),
    "boot-file-missing": GOOD.replace("jobs/tiny/main.py", "jobs/tiny/absent.py", 1),
    "boot-file-empty": GOOD.replace("jobs/tiny/main.py", '""', 1),
    "boot-file-backslash": GOOD.replace("jobs/tiny/main.py", "jobs\\tiny\\main.py", 1),
    "boot-file-outside-code": "name: tiny\nboot_file: jobs/tiny/main.py\ncode: {include: [jobs/other]}\n",
    "include-missing": "name: tiny\nboot_file: jobs/tiny/main.py\ncode: {include: [jobs/tiny, nowhere]}\n",
    "include-absolute": "name: tiny\nboot_file: jobs/tiny/main.py\ncode: {include: [/etc]}\n",
    "include-climbs": "name: tiny\nboot_file: jobs/tiny/main.py\ncode: {include: [jobs/tiny, ../..]}\n",
    "include-empty-name": 'name: tiny\nboot_file: jobs/tiny/main.py\ncode: {include: [""]}\n',
    "data-nowhere": GOOD + "data: no-such-set\n",
    "data-typo": GOOD + "data: minst\n",
    "data-file": GOOD + "data: jobs/tiny/main.py\n",
    "data-url-nowhere": GOOD + "data: obs://local/nothing/here/\n",
    "data-url-no-bucket": GOOD + "data: 'obs://'\n",
    "data-url-climbs": GOOD + "data: obs://local/../x/\n",
    "data-url-bad-bucket": GOOD + "data: obs://A_B/x/\n",
    "parameter-reserved": GOOD + "parameters: {data_url: x}\n",
    "parameter-reserved-output": GOOD + "parameters: {train_url: x}\n",
    "parameter-space": GOOD + "parameters: {a b: 1}\n",
    "parameter-dash": GOOD + "parameters: {--a: 1}\n",
    "parameter-equals": GOOD + "parameters: {a=b: 1}\n",
    "parameter-empty-name": GOOD + 'parameters: {"": 1}\n',
    "environment-platform": GOOD + "environment: {MA_HOME: /x}\n",
    "environment-dash": GOOD + "environment: {A-B: x}\n",
    "environment-many": GOOD + "environment:\n" + "".join(f"  A{i}: x\n" for i in range(101)),
    "nodes-zero": GOOD + "resources: {nodes: 0}\n",
    "nodes-negative": GOOD + "resources: {nodes: -1}\n",
    "nodes-many": GOOD + "resources: {nodes: 65}\n",
    "nodes-huge": GOOD + "resources: {nodes: " + "9" * 40 + "}\n",
    "nodes-endless": GOOD + "resources: {nodes: " + "9" * 5000 + "}\n",
    "contract-other": GOOD + "contract: middle\n",
    "time-limit-word": GOOD + "time_limit: soon\n",
    "time-limit-zero": GOOD + "time_limit: 0s\n",
    "time-limit-negative": GOOD + "time_limit: -1h\n",
    "time-limit-unit": GOOD + "time_limit: 3w\n",
    "time-limit-huge": GOOD + "time_limit: 99999999999h\n",
    "requires-nothing-such": GOOD + "requires: [no_such_module_anywhere]\n",
    "description-long": GOOD + "description: " + "x" * 257 + "\n",
    "requires-empty": GOOD + "requires: ['']\n",
    "nul-in-description": GOOD + 'description: "a\\0b"\n',
    "nul-in-parameter-name": GOOD + 'parameters: {"a\\0b": 1}\n',
    "nul-in-environment": GOOD + 'environment: {A: "a\\0b"}\n',
    "nul-in-flavor": GOOD + 'resources: {flavor: "a\\0b"}\n',
    "parameter-inf": GOOD + "parameters: {a: -.inf}\n",
    "int-tag": GOOD + "description: !!int x\n",
    "float-tag": GOOD + 'description: !!float ""\n',
    "timestamp-tag": GOOD + "description: !!timestamp x\n",
    "date-tag": GOOD + "description: !!timestamp 2026-01-01\n",
    "endless-key": GOOD + "parameters: {" + "9" * 5000 + ": 1}\n",
    "too-large": GOOD + "description: '" + "x" * (1 << 20) + "'\n",
}

SCRIPTS = {
    "syntax-error": b"def f(:\n",
    "indentation": b"if True:\nprint(1)\n",
    "open-string": b"print('\n",
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "nul": b"print(1)\0",
    "not-utf8": b"# \xff\xfe\nprint('\xe9')\n",
    "unknown-coding": b"# -*- coding: klingon -*-\nprint(1)\n",
    "python2": b"print 'hello'\n",
    "merge-conflict": b"<<<<<<< HEAD\nprint(1)\n=======\nprint(2)\n>>>>>>> x\n",
    "private-key": b'KEY = """-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"""\n',
    "secret-key": b"sk = 'abcdEFGH1234ijklMNOP5678qrstUVWX90yzABCD'\n",
    "access-key": b'set_auth(access_key_id="QWERTYUIOP1234ASDFGH")\n',
    "obs-secret": b"OBS_SECRET_ACCESS_KEY: x1y2z3a4b5c6d7e8f9g0h1i2j3k4l5m6n7o8p9q0\n",
}

COMMAND_LINES = [
    ["frobnicate"],
    ["sumbit", "tiny"],
    ["submit"],
    ["submit", "nothing"],
    ["submit", "tyni"],
    ["submit", ""],
    ["submit", "../tiny"],
    ["submit", "/"],
    ["submit", "jobs"],
    ["submit", "a\nb"],
    ["submit", "手写"],
    ["submit", "tiny", "--script", "x.py"],
    ["submit", "--script"],
    ["submit", "--script", "absent.py"],
    ["submit", "--script", "jobs"],
    ["submit", "--script", "jobs/tiny/job.yaml"],
    ["submit", "--script", "jobs/tiny/main.py", "--set", "a=1"],
    ["submit", "tiny", "--set"],
    ["submit", "tiny", "--set", "epochs"],
    ["submit", "tiny", "--set", "epochs="],
    ["submit", "tiny", "--set", "=1"],
    ["submit", "tiny", "--set", "epoch=1"],
    ["submit", "tiny", "--set", "epochs=one"],
    ["submit", "tiny", "--set", "epochs=1.5"],
    ["submit", "tiny", "--set", "epochs=true"],
    ["submit", "tiny", "--set", "lr=fast"],
    ["submit", "tiny", "--set", "lr=1e999"],
    ["submit", "tiny", "--set", "lr=-.inf"],
    ["submit", "tiny", "--set", "lr=.nan"],
    ["submit", "tiny", "--set", "lr=" + "[" * 3000],
    ["submit", "tiny", "--set", "epochs=" + "9" * 5000],
    ["submit", "tiny", "--set", "optimizer=\udcff"],
    ["submit", "tiny", "--set", "\udcff"],
    ["submit", "tiny", "--env", "A=\udcff"],
    ["submit", "tiny", "--set", "flip=1"],
    ["submit", "tiny", "--set", "data_url=x"],
    ["submit", "tiny", "--target", "mars"],
    ["submit", "tiny", "--target", ""],
    ["submit", "tiny", "--contract", "middle"],
    ["submit", "tiny", "--nodes", "0"],
    ["submit", "tiny", "--nodes", "-3"],
    ["submit", "tiny", "--nodes", "two"],
    ["submit", "tiny", "--nodes", "65"],
    ["submit", "tiny", "--time-limit", "soon"],
    ["submit", "tiny", "--time-limit", "0h"],
    ["submit", "tiny", "--time-limit", "5"],
    ["submit", "tiny", "--env", "A"],
    ["submit", "tiny", "--env", "=1"],
    ["submit", "tiny", "--env", "MA_X=1"],
    ["submit", "tiny", "--env", "A B=1"],
    ["submit", "tiny", "--resume", "nothing"],
    ["submit", "tiny", "--resume", "@last"],
    ["submit", "tiny", "--data", "nowhere"],
    ["submit", "tiny", "--data", "jobs/tiny/main.py"],
    ["submit", "tiny", "--data", "empty-folder"],
    ["submit", "tiny", "--data", "obs://"],
    ["submit", "tiny", "--data", "obs://local/absent/"],
    ["submit", "tiny", "--data", "s3://no such bucket/x"],
    ["submit", "tiny", "--python", "/no/such/python"],
    ["submit", "tiny", "--colour"],
    ["submit", "tiny", "extra", "--nodes", "x"],
    ["runs", "--phase", "Happy"],
    ["runs", "--since", "yesterday"],
    ["runs", "--limit", "many"],
    ["runs", "extra"],
    ["show"],
    ["show", "nothing"],
    ["show", ""],
    ["show", "@first"],
    ["logs", "nothing"],
    ["logs", "--tail", "-1"],
    ["logs", "--tail", "x"],
    ["wait"],
    ["wait", "nothing"],
    ["wait", "nothing", "--timeout", "x"],
    ["stop"],
    ["stop", "nothing"],
    ["pull", "nothing"],
    ["delete"],
    ["delete", "nothing"],
    ["delete", "--yes", "nothing"],
    ["data"],
    ["data", "prepare"],
    ["data", "prepare", "minst"],
    ["data", "prepare", "mnist", "--source", "moon"],
    ["data", "preview", "mnist", "--path", "empty-folder"],
    ["data", "preview", "mnist", "--count", "0"],
    ["completion"],
    ["completion", "basic"],
]


@pytest.fixture
def tiny(project, request):
    """A good job beside which things go wrong."""
    parameters = {"epochs": 3, "lr": 0.1, "flip": True, "optimizer": "sgd"}
    project.job("tiny", "print(1)\n", parameters=parameters)
    (project.root / "jobs" / "other").mkdir()
    (project.root / "jobs" / "other" / "x.py").write_text("")
    (project.root / "empty-folder").mkdir()
    return project


def everything(root: Path) -> set[str]:
    """All that lies in the project."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def refused(answer, codes=(1, 2, 102)) -> None:
    assert answer.code in codes, answer
    lines = answer.err.strip().splitlines()
    assert "Traceback" not in answer.err
    assert "defect of the launcher" not in answer.err
    assert lines[0].startswith("error: ") and len(lines[0]) > len("error: ") + 5, answer.err
    assert len(lines) == 2 and lines[1].startswith("hint:  ") and len(lines[1]) > len("hint:  ") + 3, answer.err
    assert answer.out == ""


@pytest.mark.parametrize("case", JOB_FILES)
def test_a_wrong_job_file(case, tiny, cli):
    (tiny.root / "jobs" / "tiny" / "job.yaml").write_text(JOB_FILES[case])
    before = everything(tiny.root)
    answer = cli("submit", "tiny")
    refused(answer, (1, 2))
    assert everything(tiny.root) == before


@pytest.mark.parametrize("case", ["unknown-key", "nodes-text", "boot-file-climbs", "parameter-reserved", "key-twice"])
def test_the_message_names_the_line(case, tiny, cli):
    text = "# a comment\n\n" + JOB_FILES[case]
    (tiny.root / "jobs" / "tiny" / "job.yaml").write_text(text)
    words = {"unknown-key": "colour", "nodes-text": "nodes", "boot-file-climbs": "boot_file", "key-twice": "other"}
    line = next(n for n, row in enumerate(text.splitlines(), 1) if words.get(case, "data_url") in row)
    assert f"job.yaml:{line}: " in cli("submit", "tiny").err


def test_the_nearest_key_is_offered(tiny, cli):
    (tiny.root / "jobs" / "tiny" / "job.yaml").write_text(JOB_FILES["typo-parameters"])
    assert "did you mean 'parameters'?" in cli("submit", "tiny").err


@pytest.mark.parametrize("case", SCRIPTS)
def test_a_wrong_boot_file(case, tiny, cli):
    (tiny.root / "jobs" / "tiny" / "main.py").write_bytes(SCRIPTS[case])
    before = everything(tiny.root)
    answer = cli("submit", "tiny")
    refused(answer, (1,))
    assert "jobs/tiny/main.py" in answer.err
    assert everything(tiny.root) == before


def spelled(words) -> str:
    """A command line as the name of a test."""
    return " ".join(words).encode("ascii", "backslashreplace").decode()[:60]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=spelled)
def test_a_wrong_command_line(words, tiny, cli):
    before = everything(tiny.root)
    refused(cli(*words))
    assert everything(tiny.root) == before


@pytest.mark.parametrize("words", COMMAND_LINES[::7], ids=spelled)
def test_with_json_the_error_is_one_object(words, tiny, cli):
    answer = cli(*words, "--json")
    assert answer.code in (1, 2, 102)
    assert set(answer.json) == {"error"}
    assert set(answer.json["error"]) == {"code", "message", "hint"}


def idx(magic: int, shape: tuple[int, ...], body: bytes) -> bytes:
    return struct.pack(f">{1 + len(shape)}I", magic, *shape) + body


GOOD_TREE = {
    "train/train-images-idx3-ubyte": idx(0x803, (2, 28, 28), bytes(2 * 784)),
    "train/train-labels-idx1-ubyte": idx(0x801, (2,), bytes(2)),
    "test/t10k-images-idx3-ubyte": idx(0x803, (1, 28, 28), bytes(784)),
    "test/t10k-labels-idx1-ubyte": idx(0x801, (1,), bytes(1)),
}
DATA = {
    "no-train-images": {"train/train-images-idx3-ubyte": None},
    "no-test-labels": {"test/t10k-labels-idx1-ubyte": None},
    "no-test": {"test/t10k-labels-idx1-ubyte": None, "test/t10k-images-idx3-ubyte": None},
    "empty-file": {"train/train-labels-idx1-ubyte": b""},
    "short-header": {"train/train-images-idx3-ubyte": b"\0\0\x08\x03"},
    "truncated": {"train/train-images-idx3-ubyte": GOOD_TREE["train/train-images-idx3-ubyte"][:-1]},
    "too-long": {"train/train-images-idx3-ubyte": GOOD_TREE["train/train-images-idx3-ubyte"] + b"x"},
    "wrong-magic": {"train/train-labels-idx1-ubyte": idx(0x999, (2,), bytes(2))},
    "swapped": {"train/train-labels-idx1-ubyte": GOOD_TREE["train/train-images-idx3-ubyte"]},
    "gzip-inside": {"test/t10k-images-idx3-ubyte": b"\x1f\x8b" + bytes(40)},
    "counts-differ": {"train/train-labels-idx1-ubyte": idx(0x801, (3,), bytes(3))},
    "label-range": {"train/train-labels-idx1-ubyte": idx(0x801, (2,), b"\x03\xc8")},
    "wrong-size": {"train/train-images-idx3-ubyte": idx(0x803, (2, 14, 28), bytes(2 * 14 * 28))},
    "html": {"train/train-images-idx3-ubyte": b"<html>moved</html>"},
    "huge-header": {"train/train-images-idx3-ubyte": idx(0x803, (2**32 - 1, 28, 28), bytes(784))},
}


@pytest.mark.parametrize("case", DATA)
def test_a_wrong_data_folder(case, tiny, cli):
    tiny.job("digits", "print(1)\n", data="mnist")
    for name, content in {**GOOD_TREE, **DATA[case]}.items():
        path = tiny.root / "digits" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
    before = everything(tiny.root)
    answer = cli("submit", "digits", "--data", "digits")
    refused(answer, (1,))
    assert "data check digits" in answer.err
    assert everything(tiny.root) == before


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_at_all_as_a_job_file(tiny, cli, text):
    """No text that is not a job brings the launcher down."""
    path = tiny.root / "jobs" / "tiny" / "job.yaml"
    path.write_text(text, "utf-8", errors="surrogateescape" if False else "replace")
    answer = cli("submit", "tiny", "--dry-run")
    refused(answer, (1, 2))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["boot_file", "code", "data", "environment", "parameters", "requires", "resources", "time_limit"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_of_any_key(tiny, cli, value, key):
    """A key may hold anything: the plan is made, or refused in two lines."""
    spec = {"name": "tiny", "boot_file": "jobs/tiny/main.py", "code": {"include": ["jobs/tiny"]}, key: value}
    (tiny.root / "jobs" / "tiny" / "job.yaml").write_text(json.dumps(spec))
    answer = cli("submit", "tiny", "--dry-run")
    if answer.code:
        refused(answer, (1, 2))
