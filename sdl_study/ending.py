"""How a command ends: what it says last, once, and with which exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from sdl_study.errors import UserError, internal_error
from sdl_study.streams import steady_streams

_TOLD = "_sdl_exit_code"
_must_leave = False


class MachineFailure(Exception):
    """What the command ran on went away: one line saying what and where to look; the same command goes on.

    The command line prints it without a traceback and exits with code 1.
    """


class Disagreement(Exception):
    """What was asked does not hold: one line saying so; the command line exits with code 1."""


def main_of(command: Callable[[], object]) -> int:
    """Run a command; how it ended is said in words, once (see ``tell``), and returned as an exit code.

    Nobody reading what it prints is no failure; a standard output that cannot be written is told at the end.
    """
    code = 0
    try:
        with steady_streams():
            try:
                command()
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (every ending has its words and code)
                code = tell(error)
    except UserError as error:
        code = code or tell(error)
    if _must_leave:
        os._exit(code)
    return code


def tell(error: BaseException) -> int:
    """Say what ended the command, unless it was said already; returns the exit code.

    2 for a user's mistake, 130 for an interruption, 1 for everything else. Whoever closes what may take the whole
    process down (Ray on a busy machine) says it before that.
    """
    told: int | None = getattr(error, _TOLD, None)
    if told is not None:
        return told
    text, code = _words(error)
    sys.stdout.flush()
    sys.stderr.write(text)
    sys.stderr.flush()
    setattr(error, _TOLD, code)
    return code


def _words(error: BaseException) -> tuple[str, int]:
    if isinstance(error, UserError | MachineFailure | Disagreement):
        lines = str(error).splitlines()
        text = "".join(line + "\n" if line.startswith("  ") else f"error: {line}\n" for line in lines)
        return text, 2 if isinstance(error, UserError) else 1
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command goes on where it was\n", 130
    return internal_error(error), 1


def must_leave_at_once() -> None:
    """Something is left in this process that will not end by itself, or would end it with words and a code of its own:
    ``main_of`` ends the process as soon as all is said.
    """
    global _must_leave
    _must_leave = True
