"""Mistakes of a user, told in one line."""

from __future__ import annotations

import re
import traceback


class UserError(Exception):
    """A mistake that the user can mend: one line saying what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def internal_error(error: BaseException) -> str:
    """What may be shown of an unexpected exception: its type and places; its text may quote the data."""
    head = f"internal error: {type(error).__name__}; its text is not shown, it may quote the data\n"
    return head + "".join(traceback.format_tb(error.__traceback__))


def without_password(uri: str) -> str:
    """A URI as it may be shown: user and password, and secrets among its parameters, are dots."""
    shown = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@", r"\1...@", uri)
    return re.sub(r"(?i)([?&;][^=&;]*(?:password|passwd|pwd|token|secret)[^=&;]*=)[^&;#]*", r"\1...", shown)
