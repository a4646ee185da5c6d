"""A place on a storage: its URL, and an object that is there whole or not at all."""

from __future__ import annotations

import io
import re

import pytest

from sdl_study.errors import UserError
from sdl_study.storage.place import Place, StorageError, check_url
from tests.storages import environment


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("gs://bucket/x", "--storage gs://bucket/x: write it as s3://bucket/prefix"),
        ("studies", "--storage studies: write it as s3://bucket/prefix"),
        ("s3:///x", "'' is no bucket's name"),
        ("s3://UPPER/x", "'UPPER' is no bucket's name"),
        ("s3://bucket/a/../b", "a prefix has no '.' or '..'"),
        ("s3://key:hidden@bucket/x", "credentials and endpoint come from the environment"),
        ("s3://bucket/x?secret_key=hidden", "credentials and endpoint come from the environment"),
    ],
)
def test_a_url_that_is_none(url: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)) as raised:
        check_url(url)
    assert "hidden" not in str(raised.value)


def test_a_url_is_kept_in_one_form() -> None:
    assert check_url("s3://bucket/a//b/") == "s3://bucket/a/b"
    assert Place("s3://bucket").below("tiny").url == "s3://bucket/tiny"


def test_objects_are_written_read_listed_and_removed(storage: Place) -> None:
    assert storage.get("a/b") is None
    assert storage.list("a") == {}
    storage.put("a/b", b"one")
    storage.put_file("a/c/d", io.BytesIO(b"0123456789"), 2, 5, lambda: None)
    storage.put("ab", b"beside")
    assert storage.get("a/b") == b"one"
    assert b"".join(storage.parts("a/c/d")) == b"23456"
    assert {name: found.size for name, found in storage.list("a").items()} == {"b": 3, "c/d": 5}
    storage.put("a/b", b"another")
    assert storage.get("a/b") == b"another"
    storage.remove("a/b")
    storage.remove("a/b")
    assert set(storage.list("a")) == {"c/d"}


def test_an_object_that_was_written_anew_while_it_was_read(
    storage: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first bytes, as many as it had before."""
    contents = iter([b'{"a": 1, "b', b'{"a": 1, "b": 2}'])
    monkeypatch.setattr(Place, "get", lambda self, name: next(contents))
    assert storage.json("index.json") == {"a": 1, "b": 2}


def test_an_object_that_is_no_json(storage: Place) -> None:
    storage.put("index.json", b"{")
    with pytest.raises(UserError, match=r"index\.json: damaged: not JSON"):
        storage.json("index.json")


def test_a_bucket_that_is_not_there(storage: Place) -> None:
    with pytest.raises(StorageError, match=r"^no_such_bucket$"):
        Place("s3://nowhere/x").put("a", b"")


def test_a_server_that_is_not_there_is_told_without_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=r"^network_connection$"):
        Place("s3://studies/x").get("a")
