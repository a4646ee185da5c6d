"""Mistakes of a user, told in one line."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend: one line saying what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with code 2.
    """
