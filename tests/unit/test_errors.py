"""What is shown of an unexpected exception: places always, texts only of open data and only when they are asked for."""

from __future__ import annotations

import pytest

from sdl_study import errors
from sdl_study.errors import debug_text, internal_error, note_terms
from sdl_study.workers.group import _failed

WORDS = "the patient's words"


@pytest.fixture(autouse=True)
def _nothing_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "_OPENED", set())
    monkeypatch.delenv("SDL_DEBUG", raising=False)


def raised() -> Exception:
    try:
        raise RuntimeError(WORDS)
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("debug", "opened", "shown"),
    [
        ("1", ["open"], True),
        ("1", ["open", "open"], True),
        ("0", ["open"], False),
        ("1", [], False),  # what is being read is not known yet
        ("1", ["restricted"], False),
        ("1", ["open", "restricted"], False),
        ("1", ["restricted", "open"], False),
    ],
)
def test_texts_are_shown_only_of_open_data_on_request(
    debug: str, opened: list[str], shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_DEBUG", debug)
    for terms in opened:
        note_terms(terms)
    error = raised()
    told = internal_error(error)
    assert "test_errors.py" in told
    assert (WORDS in told) is shown
    assert (debug_text(error) is not None) is shown
    assert (WORDS in _failed("bug", error).shown) is shown
    assert WORDS not in _failed("bug", error).where


def test_the_switch_is_named_unless_it_would_not_help() -> None:
    assert "SDL_DEBUG=1 shows it" in internal_error(raised())
    note_terms("restricted")
    assert "SDL_DEBUG" not in internal_error(raised())


def test_a_users_mistake_that_a_worker_finds_is_shown_in_its_own_words_and_never_kept() -> None:
    failed = _failed("bug", errors.UserError("best.pt: cannot be read;\n remove it"))
    assert failed.shown == "error: best.pt: cannot be read; remove it\n"
    assert failed.where.startswith("UserError")
    assert "best.pt" not in failed.where
