"""Mistakes of a user, told in one line."""

from __future__ import annotations

import re


class UserError(Exception):
    """A mistake that the user can mend: one line saying what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def without_password(uri: str) -> str:
    """A URI as it may be shown: user and password, and secrets among its parameters, are dots."""
    shown = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@", r"\1...@", uri)
    return re.sub(r"(?i)([?&;][^=&;]*(?:password|passwd|pwd|token|secret)[^=&;]*=)[^&;#]*", r"\1...", shown)
