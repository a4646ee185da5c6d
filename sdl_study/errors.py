"""Mistakes of a user, told in one line."""

from __future__ import annotations

import os
import re
import traceback


class UserError(Exception):
    """A mistake that the user can mend: one line saying what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


_OPENED: set[str] = set()


def note_terms(terms: str) -> None:
    """Note that this process opens data under these terms ("open" or "restricted")."""
    _OPENED.add(terms)


def debug_text(error: BaseException) -> str | None:
    """The whole traceback, its texts included, where ``SDL_DEBUG=1`` asks for it and all data opened are open."""
    if os.environ.get("SDL_DEBUG") != "1" or {"open"} != _OPENED:
        return None
    return "".join(traceback.format_exception(error))


def internal_error(error: BaseException) -> str:
    """What may be shown of an unexpected exception: its type and places; its text may quote the data."""
    whole = debug_text(error)
    if whole is not None:
        return f"internal error\n{whole}"
    head = f"internal error: {type(error).__name__}; its text is not shown, it may quote the data"
    hint = "" if "restricted" in _OPENED else "; for open data SDL_DEBUG=1 shows it"
    return f"{head}{hint}\n" + "".join(traceback.format_tb(error.__traceback__))


def without_password(uri: str) -> str:
    """A URI as it may be shown: user and password, and secrets among its parameters, are dots."""
    shown = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@", r"\1...@", uri)
    return re.sub(r"(?i)([?&;][^=&;]*(?:password|passwd|pwd|token|secret)[^=&;]*=)[^&;#]*", r"\1...", shown)
