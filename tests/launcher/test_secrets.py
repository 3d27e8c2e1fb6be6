"""What looks like a secret, and what only talks of one."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import secrets
from launcher.secrets import find_secret_in_value, find_secrets

HOUSE = Path(__file__).resolve().parent.parent.parent
AK = "QWERTYUIOP1234ASDFGH"
SK = "Zx9Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0LzXcVbNm12"
HEX = "9f86d081884c7d659a2feaa0c55ad015"

TEXTS = [
    *(f"{name}={SK}" for name in ("HUAWEI_SK", "MY_SK", "OBS_SECRET", "TOKEN", "export HW_TOKEN", "API_KEY", "SK1")),
    f"HUAWEI_AK={AK}",
    f"my_ak={AK}",
    f"hw_sk: {SK}",
    f"TOKEN={HEX}",
    "password: 550e8400-e29b-41d4-a716-446655440000",
    f"obsutil config -i={AK} -k={SK}",
    f"train.sh --sk {SK}",
    f"train.sh --obs-ak={AK}",
    f"# sk = {SK}",
]
PYTHON = [
    f'SK: str = "{SK}"',
    f'SK: Optional[str] = "{SK}"',
    f'sk = r"{SK}"',
    f'sk = """{SK}"""',
    f'os.environ["OBS_SK"] = "{SK}"',
    f'os.environ.setdefault("OBS_SK", "{SK}")',
    f'AK = ("{AK}")',
    f'AK = (\n    "{AK}"\n)',
    f'parser.parse_args(["--sk", "{SK}"])',
    f'ObsClient("{AK}", os.environ["SK"])',
    f'BasicCredentials("{AK}","{SK}")',
    f'client(ak="short", sk="{SK}")',
    'url = "https://user:t0k3n9x8y7@host/x"',
]
HARMLESS = [
    "sk = sklearn_model_v2_best_estimator",
    "sk=skip_connection_block_1",
    "api_key = load_api_key_from_vault2(path)",
    "AK = attention_kernel_size_3x3",
    'sk = "skip_connection_block_1"',
    'AK = "attention_kernel_size_3x3"',
    'TOKEN = "bert-base-uncased-layer12"',
    "access_key = config.secrets2.access_key_v2",
    'ObsClient("your_access_key_1", "your_secret_key_2")',
    'url = "https://user:password@host"',
    'url = f"https://user:{token1234}@host"',
    "task = QWERTYUIOP1234ASDFGH",
    "tokens: 1234567890123456789",
    "--sk your_secret_key_goes_here_1",
]


@pytest.mark.parametrize("text", TEXTS + PYTHON)
@pytest.mark.parametrize("name", ["a.sh", "a.py", "a.ipynb"])
def test_keys_in_text(text: str, name: str) -> None:
    if name == "a.ipynb":
        text = text.replace('"', '\\"')
    found = find_secrets(name, f"first line\n{text}\n".encode())
    if name == "a.py" and (HEX in text or "550e" in text):
        assert not found, "without quotes, Python has names there"
        return
    assert len(found) == 1 and found[0].line in (2, 3)
    assert not any(secret in str(found[0]) for secret in (AK, SK, HEX))


@pytest.mark.parametrize("text", HARMLESS)
@pytest.mark.parametrize("name", ["a.sh", "a.py"])
def test_what_only_talks_of_keys(text: str, name: str) -> None:
    assert not find_secrets(name, text.encode())


@given(
    st.lists(
        st.sampled_from([*TEXTS, *PYTHON, *HARMLESS])
        | st.text("AKsk=:'\" \n1234/+-_é", max_size=40)
        | st.from_regex(r"(SK|api_key|token)( = |=|: )[\"']?[A-Za-z0-9+/=_-]{12,24}[\"']?", fullmatch=True),
        max_size=4,
    ).map("\n".join)
)
def test_a_first_look_misses_nothing(text: str) -> None:
    at_once = list(secrets._keys(text, is_python=False))
    with mock.patch.object(secrets, "_has_long_word", return_value=True):
        assert at_once == list(secrets._keys(text, is_python=False))


@pytest.mark.parametrize("size", [1, 15, 16, 17, 40, 64])
@pytest.mark.parametrize("before", ["", "a ", "ab" * 9 + " ", "a b c d e f g h " * 5])
def test_a_first_look_goes_piece_by_piece(size: int, before: str) -> None:
    with mock.patch.object(secrets, "PIECE", size):
        for text in (f"{before}SK={SK}", f"{before}SK={SK}\n{before}"):
            assert [line.kind for line in find_secrets("a.sh", text.encode())] == ["an access or secret key"]
        assert find_secrets("a.sh", before.encode()) == []


def test_the_second_of_two_values_on_a_line_is_seen() -> None:
    assert find_secrets("a.py", f'login(ak="access_key_1_goes_here", sk="{SK}")'.encode())


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig"])
def test_byte_order_marks(coding: str) -> None:
    assert [found.line for found in find_secrets("a.txt", f"\nSK={SK}".encode(coding))] == [2]


def test_large_files_are_read_too_and_binary_ones_are_not() -> None:
    assert find_secrets("a.txt", b"some words of text\n" * 300_000 + f"SK={SK}".encode())[0].line == 300_001
    assert not find_secrets("a.bin", b"\0" + f"SK={SK}".encode())


@pytest.mark.parametrize(
    "name",
    [
        "prod.env", ".envrc", "credentials (1).csv", "AccessKey.csv", "id_rsa.bak", "putty.ppk", "secrets.yaml",
        "secrets.yml", "kubeconfig", "deep/.env.local",
    ],
)  # fmt: skip
def test_names_of_credential_files(name: str) -> None:
    assert find_secrets(name, b"")


@pytest.mark.parametrize("name", [".env.example", "id_rsa.pub", "secrets.py", "environment.yml", "id_rsa_test.py"])
def test_names_that_only_look_like_it(name: str) -> None:
    assert not find_secrets(name, b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OBS_SK", SK), ("--sk", SK), ("ak", AK), ("HF", "hf_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bD0fG"),
        ("api_key", "k3!x9@q7#w2$e8%r5"), ("url", "https://user:t0k3n9x8y7@host"), ("", f"--sk={SK}"),
    ],
)  # fmt: skip
def test_secrets_on_the_command_line(name: str, value: str) -> None:
    found = find_secret_in_value(name, value)
    assert found and found.path == name
    assert value not in str(found) and value not in found.masked


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", "3"), ("sk", "skip_connection_block_1"), ("token", ""), ("hash", SK), ("data", "obs://bucket/a/b/")],
)
def test_plain_values_on_the_command_line(name: str, value: str) -> None:
    assert find_secret_in_value(name, value) is None


@pytest.mark.parametrize("room", ["launcher", "storage", "jobs", "entrypoints"])
def test_nothing_of_our_own_is_flagged(room: str) -> None:
    paths = [path for path in (HOUSE / room).rglob("*") if path.is_file() and path.suffix in (".py", ".yaml")]
    assert paths
    assert not [found for path in paths for found in find_secrets(str(path), path.read_bytes())]


def test_a_script_in_a_clone_of_this_can_be_submitted(project, cli) -> None:
    """The tests have secrets to find, which are no part of a script beside them."""
    (project.root / ".launcherignore").write_text((HOUSE / ".launcherignore").read_text())
    (project.root / "tests").mkdir()
    (project.root / "tests" / "keys.txt").write_text(f"HUAWEI_SK={SK}")
    (project.root / "train.py").write_text("print('trained')")
    answer = cli("submit", "--script", "train.py")
    assert answer.code == 0 and answer.out == "trained\n", answer
