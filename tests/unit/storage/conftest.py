"""One S3-compatible server for the tests of the storage; every test has a prefix of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from sdl_study.storage.place import Place
from tests.storages import BUCKET, environment, server

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with server() as found:
        yield found


@pytest.fixture
def storage(address: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty prefix, which this process can use."""
    for name, value in environment(address).items():
        monkeypatch.setenv(name, value)
    return Place(f"s3://{BUCKET}/tests/{next(_NUMBERS)}")
