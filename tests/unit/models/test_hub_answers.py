"""What the hub answers: the files of the revision that was asked for, or a refusal, told with what to do about it."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import expected_spec, open_store
from sdl_study.errors import UserError
from sdl_study.models import check_encoder, encoder_reads
from sdl_study.models.places import hub_answers
from sdl_study.models.tokenizer import load_tokenizer
from tests.unit.data import small
from tests.unit.models import published

NAME = "hub/model"


def with_revision(root: Path, snapshot: Path, revision: str, words: list[str]) -> None:
    """Another revision of a model in the hub's cache, with other words in its tokenizer."""
    commit = "1" * 40
    other = Path(shutil.copytree(snapshot, snapshot.parent / commit))
    published.tokenizer(other, words)
    (root / "cache" / "models--hub--model" / "refs" / revision).write_text(commit)


def test_the_tokenizer_is_that_of_the_models_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = published.cache(tmp_path, monkeypatch)
    snapshot = put(NAME, published.bert(tmp_path / "bert"), "*")
    with_revision(tmp_path, snapshot, "v2", [*published.SPECIALS, *reversed(published.WORDS)])
    small.write_text(tmp_path / "data")
    data = PreparedData.load(tmp_path / "data")
    stores = {}
    for revision in (None, "v2"):
        settings = {"name": NAME, "max_length": 12} | ({"revision": revision} if revision else {})
        reading = encoder_reads("hub", settings)
        assert reading.get("revision") == revision
        store = stores[revision] = open_store(data, reading, tmp_path / "stores")
        assert expected_spec(data, reading).tokenizer == store.spec.tokenizer
        check_encoder("hub", settings, store.spec)
    assert stores[None].spec.tokenizer != stores["v2"].spec.tokenizer
    with pytest.raises(UserError, match="reads texts in another way than the store's"):
        check_encoder("hub", {"name": NAME, "revision": "v2"}, stores[None].spec)


def test_a_revision_of_nothing_is_refused(tmp_path: Path) -> None:
    small.write_text(tmp_path / "data")
    data = PreparedData.load(tmp_path / "data")
    for settings, words in (
        ({"revision": "v2"}, r"^data\.store\.revision: give it with data\.store\.name"),
        (
            {"tokenizer": "pretrained", "name": NAME, "revision": 2},
            r"^data\.store\.revision: 2 is not of type",
        ),
    ):
        with pytest.raises(UserError, match=words):
            open_store(data, settings, tmp_path / "stores")


# HTTP status and X-Error-Code as the hub gives them, and what is to be done.
REFUSALS: dict[str, tuple[int, str, str]] = {
    "gated": (
        403,
        "GatedRepo",
        "it is gated: accept its terms at https://huggingface.co/hub/model, then log in with hf auth login",
    ),
    "private or misspelt": (
        401,
        "RepoNotFound",
        "the hub has no model of this name; mend the name, or log in",
    ),
    "no such revision": (404, "RevisionNotFound", "the hub has no such revision of it"),
}
OUT_OF_REACH = (
    "the hub is out of reach, and the model was not downloaded before; run hf download hub/model where"
)


@pytest.fixture(autouse=True)
def nobody_has_asked() -> Iterator[None]:
    """What a client that is played answers is not kept for the tests after it."""
    hub_answers.cache_clear()
    yield
    hub_answers.cache_clear()


def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The line of each way to ask for a model of the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nonexistent/cache")
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", "/nonexistent/cache")
    ways: list[Any] = [
        lambda: encoder_reads("hub", {"name": NAME, "revision": "v9"}),
        lambda: load_tokenizer(NAME, "data.store.name", "v9"),
    ]
    lines = []
    for ask in ways:
        with pytest.raises(UserError) as caught:
            ask()
        lines.append(str(caught.value))
    assert all("\n" not in line and repr(NAME) in line for line in lines)
    return lines


@pytest.mark.parametrize("refusal", REFUSALS)
def test_the_hub_refuses(refusal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status, code, words = REFUSALS[refusal]
    client = huggingface_hub.get_session()

    def send(request: Any, **_: Any) -> Any:
        return _response(client, status, code, request)

    monkeypatch.setattr(client, "send", send)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for line in asked(monkeypatch):
        assert words in line
    assert not huggingface_hub.is_offline_mode()


def _response(client: Any, status: int, code: str, request: Any) -> Any:
    """An answer of the client's own library (which one that is changes with the hub's versions)."""
    library = importlib.import_module(type(client).__module__.split(".")[0])
    return library.Response(status, headers={"X-Error-Code": code}, request=request)


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not six times for every file of every model."""
    asked_for: list[Any] = []
    client = huggingface_hub.get_session()

    def send(request: Any, **_: Any) -> Any:
        asked_for.append(request)
        raise OSError("no network")

    monkeypatch.setattr(client, "send", send)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for line in asked(monkeypatch):
        assert OUT_OF_REACH in line
    assert len(asked_for) == 1


def test_offline_it_is_not_asked_and_nothing_is_learnt_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked(monkeypatch)
    assert hub_answers.cache_info().misses == 0


def test_the_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for line in asked(monkeypatch):
        assert OUT_OF_REACH in line
