"""ls, du, stat, cat: what is shown of buckets, folders and objects."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from launcher.cli.storage.common import complete_urls
from launcher.objects.names import printable, translate
from tests.conftest import HOUSE
from tests.launcher.test_completion import complete
from tests.test_house import HEAVY, loaded_by

FILES = {"a.txt": "a", "logs/x.log": "xx", "logs/y.log": "yyy", "logs/deep/z.log": "z", "ü b/c d.txt": "cd", "w*": "w"}


@pytest.fixture
def filled(buckets, write):
    write(".launcher/buckets/one", FILES)
    return buckets


def names(answer) -> list[str]:
    assert answer.code == 0, answer.err
    return [row["key"] for row in answer.json]


def test_no_url_lists_the_buckets_and_the_place_is_told(buckets, storage):
    answer = storage("ls")
    assert [line.split()[-1] for line in answer.out.splitlines()] == ["obs://one", "obs://two"]
    assert answer.err.strip() == "local buckets in .launcher/buckets"
    assert [row["name"] for row in storage("ls", "--json").json] == ["one", "two"]


def test_one_level_shows_folders_once(filled, storage):
    assert names(storage("ls", "obs://one", "--json")) == ["a.txt", "logs/", "w*", "ü b/"]
    assert names(storage("ls", "obs://one/logs", "--json")) == ["logs/deep/", "logs/x.log", "logs/y.log"]
    lines = storage("ls", "s3://one/logs/").out.splitlines()
    assert [line.split()[-1] for line in lines] == ["deep/", "x.log", "y.log"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("logs/*.log", ["logs/x.log", "logs/y.log"]),
        ("logs/**/*.log", ["logs/deep/z.log", "logs/x.log", "logs/y.log"]),
        ("**.log", ["logs/deep/z.log", "logs/x.log", "logs/y.log"]),
        ("logs/[!x].log", ["logs/y.log"]),
        ("?.txt", ["a.txt"]),
        ("ü*/c*", ["ü b/c d.txt"]),
        ("w*", ["w*"]),
    ],
)
def test_patterns(pattern, found, filled, storage):
    assert names(storage("ls", f"obs://one/{pattern}", "--json")) == found


def test_a_bracket_never_matches_a_slash_nor_breaks_the_expression():
    assert not re.fullmatch(translate("a[!b]c"), "a/c")
    assert re.fullmatch(translate("a[]^b]c"), "a^c")
    assert re.fullmatch(translate("a[b"), "a[b")


def test_recursive_sizes_and_sums(filled, storage):
    answer = storage("ls", "-r", "obs://one", "--bytes", "--summarize")
    assert answer.out.splitlines()[-1] == "6 objects, 10"
    assert "2  logs/x.log" in answer.out


def test_json_has_every_key(filled, storage):
    folder, first = storage("ls", "obs://one/logs", "--json").json[:2]
    assert folder == {
        "url": "obs://one/logs/deep/", "key": "logs/deep/", "folder": True, "size": None, "mtime": None, "etag": None
    }  # fmt: skip
    assert (first["url"], first["size"], first["folder"]) == ("obs://one/logs/x.log", 2, False)
    assert first["mtime"].endswith("Z") and first["etag"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("ls", "obs://nobody"), "storage mb obs://nobody"),
        (("ls", "obs://one/nothing"), "storage ls obs://one/"),
        (("ls", "obs://one/*.nothing"), "** crosses"),
        (("stat", "obs://one/logs"), "storage du obs://one/logs"),
        (("stat", "obs://one/nothing"), "storage ls"),
        (("cat", "obs://one/nothing"), "storage ls"),
        (("du", "obs://one/nothing"), "storage ls"),
        (("du", "obs://nobody"), "storage mb"),
        (("rm", "obs://one/nothing"), "storage ls"),
        (("rb", "obs://nobody"), "storage mb"),
        (("cp", "obs://one/nothing", "here"), "storage ls"),
        (("cp", "nothing", "obs://one/"), "ls ."),
        (("sync", "obs://one/nothing", "here"), "storage ls"),
        (("sync", "nothing", "obs://one/here"), "ls ."),
        (("gc", "obs://nobody"), "storage mb"),
    ],
)
def test_what_is_not_there_is_102_with_a_hint(words, hint, filled, storage):
    answer = storage(*words)
    assert answer.code == 102, answer
    assert hint in answer.err
    assert storage(*words, "--json").json["error"]["code"] == "NotFound"


def test_an_empty_bucket_lists_nothing(buckets, storage):
    answer = storage("ls", "obs://two", "--json")
    assert (answer.code, answer.json) == (0, [])


def test_a_name_from_others_cannot_write_on_the_terminal(buckets, storage):
    (buckets / "one" / "a\x1b[31mb\nc").write_text("x")
    line = storage("ls", "obs://one").out
    assert line.endswith("  a\\x1b[31mb\\nc\n") and line.count("\n") == 1
    assert printable("ü b") == "ü b"


def test_du_sums_up_to_a_depth(filled, storage):
    rows = storage("du", "obs://one", "-d", "1", "--json").json
    assert [(row["url"], row["objects"], row["bytes"]) for row in rows] == [
        ("obs://one/logs/", 3, 6),
        ("obs://one/ü b/", 1, 2),
        ("obs://one/", 6, 10),
    ]
    deep = storage("du", "obs://one/logs", "-d", "9", "--json").json
    assert [(row["url"], row["objects"], row["bytes"]) for row in deep] == [
        ("obs://one/logs/deep/", 1, 1),
        ("obs://one/logs", 3, 6),
    ]
    assert storage("du", "obs://one/a.txt", "--json").json[0]["bytes"] == 1


def test_stat(filled, storage):
    found = storage("stat", "obs://one/a.txt", "--json").json
    assert (found["size"], found["sha256"]) == (1, None)
    digest = storage("stat", "obs://one/a.txt", "--json", "--digest").json["sha256"]
    assert digest == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_cat_writes_bytes_as_they_are(filled, storage):
    assert storage("cat", "obs://one/logs/y.log", "--start", "1", "--length", "1").out == "y"
    assert storage("cat", "obs://one/logs/*.log").out == "xxyyy"
    assert storage("cat", "obs://one/a.txt", "--json").json[0]["text"] == "a"
    assert storage("cat", "obs://one/logs").code == 102
    assert storage("cat", "obs://one/logs/").code == 2
    (filled / "one" / "raw").write_bytes(b"\xff\x00\n")
    command = [sys.executable, "-m", "launcher", "storage", "cat", "obs://one/raw"]
    raw = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(HOUSE)}, capture_output=True, check=True)
    assert raw.stdout == b"\xff\x00\n"


def test_a_url_that_names_nothing_is_usage(buckets, storage):
    assert storage("ls", "obs://A/b").code == 2
    assert storage("ls", "local/path").code == 2
    assert storage("ls", "obs://one/a//b").code == 2
    assert storage("cat", "obs://one/a", "--start", "-1").code == 2


def test_tab_completes_sub_verbs_buckets_and_keys(filled, tmp_path):
    assert {"sync", "stat"} <= complete("launcher storage s", tmp_path)
    assert complete_urls("") == ["obs://one/", "obs://two/"]
    assert complete_urls("obs://one/l") == ["obs://one/logs/"]
    assert complete_urls("obs://one/logs/x") == ["obs://one/logs/x.log"]


def test_a_listing_loads_little():
    modules = loaded_by("storage", "ls", "--help")
    assert "launcher.cli.storage.ls" in modules
    assert not modules & (HEAVY | {"yaml", "msgspec", "pathspec", "sqlite3", "subprocess", "hashlib"})


@pytest.mark.parametrize("verb", ["ls", "cp", "sync", "rm", "mb", "rb", "cat", "du", "stat", "presign", "gc"])
def test_help_has_an_example(verb, storage):
    answer = storage(verb, "--help")
    assert answer.code == 0
    assert f"example: python -m launcher storage {verb} " in " ".join(answer.out.split())
