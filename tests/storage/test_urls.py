"""URLs and keys: what is read, what is refused, and that a join cannot leave its root."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import is_remote
from storage.errors import InvalidUrl, UnsafeKey
from storage.urls import ObsUrl, check_bucket, check_key, check_prefix, join_key, local_path

BUCKETS = st.from_regex(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", fullmatch=True)
ANY_TEXT = st.text(st.characters(exclude_categories=[])) | st.text(st.sampled_from("./\\ :aC\0"))


def is_safe(key: str) -> bool:
    try:
        check_key(key)
    except UnsafeKey:
        return False
    return True


KEYS = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("/. "), min_size=1).filter(is_safe)


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("obs://my-bucket/a/b c/字", "my-bucket", "a/b c/字"),
        ("s3://my-bucket/a", "my-bucket", "a"),
        ("OBS://my.bucket/a/", "my.bucket", "a"),
        ("obs://my-bucket", "my-bucket", ""),
        ("obs://my-bucket/", "my-bucket", ""),
        ("obs://my-bucket/a%20b?c#d", "my-bucket", "a%20b?c#d"),
    ],
)
def test_obs_urls_are_read_literally(text: str, bucket: str, key: str) -> None:
    assert ObsUrl.parse(text) == ObsUrl(bucket, key)
    assert str(ObsUrl.parse(text)) == f"obs://{bucket}" + (f"/{key}" if key else "")


@pytest.mark.parametrize("text", ["", "/bucket/key", "bucket/key", "file:///x", "http://my-bucket/x", "obs:/my-bucket"])
def test_what_is_not_an_obs_url_is_not_guessed(text: str) -> None:
    assert not is_remote(text)
    with pytest.raises(InvalidUrl):
        ObsUrl.parse(text)


def test_the_console_form_is_read_only_when_asked_for() -> None:
    assert ObsUrl.parse_console_path("/my-bucket/data/mnist/") == ObsUrl("my-bucket", "data/mnist")
    for text in ("my-bucket/x", "//x", "obs://my-bucket/x"):
        with pytest.raises(InvalidUrl):
            ObsUrl.parse_console_path(text)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 64,
        "Bucket",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "a..b",
        "a.-b",
        "a-.b",
        "10.0.0.1",
        "a b",
        "abc\n",
        "桶桶桶",
    ],
)
def test_bucket_names_keep_the_rules_of_obs(name: str) -> None:
    with pytest.raises(InvalidUrl, match="bucket name"):
        check_bucket(name)
    for good in ("abc", "a" * 63, "1.2.3", "a-b.c-d"):
        assert check_bucket(good) == good


def test_an_unsafe_name_is_shown_so_that_it_cannot_hurt_a_terminal() -> None:
    for key in ("a\x1b[2Jb", "a\0b", "\udcff"):
        with pytest.raises(UnsafeKey) as caught:
            check_key(key)
        assert repr(key) in str(caught.value)
        assert str(caught.value).isprintable()


def test_a_prefix_may_end_anywhere_in_a_key_but_not_climb() -> None:
    for good in ("", "a", "a/", "a/b", "a/.", "..", "a/ "):
        assert check_prefix(good) == good
    for bad in ("/", "../", "a/../", "a//", "a\n", "\ud800"):
        with pytest.raises(UnsafeKey):
            check_prefix(bad)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("data", "data"),
        ("/data/100%", "/data/100%"),
        ("file:///data/a%20b", "/data/a b"),
        ("file://localhost/data", "/data"),
        ("C:\\data", "C:\\data"),
        ("C://data", "C://data"),
    ],
)
def test_local_places(text: str, path: str) -> None:
    assert local_path(text) == path


@pytest.mark.parametrize(
    "text", ["", "a\0b", "file://host/x", "file://", "file:///a%00", "http://x/y", "hdfs://x", "obs://x"]
)
def test_what_names_no_local_place_is_refused(text: str) -> None:
    with pytest.raises(InvalidUrl):
        local_path(text)


@settings(deadline=None)
@given(BUCKETS, st.just("") | KEYS)
def test_text_and_url_are_each_others_inverse(bucket: str, key: str) -> None:
    url = ObsUrl(bucket, key)
    assert ObsUrl.parse(str(url)) == url
    assert pickle.loads(pickle.dumps(url)) == url


@settings(deadline=None)
@given(st.just("") | KEYS, st.lists(ANY_TEXT, max_size=3))
def test_a_join_never_leaves_its_root(key: str, parts: list[str]) -> None:
    root = ObsUrl("bucket", key)
    try:
        joined = root.join(*parts)
    except UnsafeKey:
        return
    assert joined.bucket == root.bucket
    assert joined.key == "/".join(filter(None, [key, *parts]))
    assert joined == root or joined.key.startswith(key + "/" if key else "")
    assert not {".", "..", ""} & set(joined.key.split("/")) or joined.key == ""


@settings(deadline=None)
@given(KEYS, ANY_TEXT)
def test_the_operator_and_join_key_are_the_same_join(key: str, part: str) -> None:
    try:
        expected = join_key(key, part)
    except UnsafeKey:
        with pytest.raises(UnsafeKey):
            ObsUrl("bucket", key) / part
        return
    assert (ObsUrl("bucket", key) / part).key == expected


@settings(deadline=None)
@given(ANY_TEXT)
def test_a_key_that_passes_is_a_plain_relative_path_on_every_system(key: str) -> None:
    if not is_safe(key):
        return
    import ntpath
    import posixpath

    assert 1 <= len(key.encode("utf-8")) <= 1024
    for flavour in (ntpath, posixpath):
        assert not flavour.isabs(key) and flavour.splitdrive(key)[0] == ""
        normal = flavour.normpath(flavour.join("root", key))
        assert normal.replace("\\", "/") == "root/" + key
