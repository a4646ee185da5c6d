"""Ctrl-C, SIGTERM and SIGHUP end a command alike: in order, to go on later; the second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_SAME_SECONDS = 0.3  # a terminal that closes, and a service manager, send two of them at once


class Interruptions:
    """The three signals, as long as ``in_order`` lasts.

    Attributes:
        by_signal: whether one of them came from outside.
    """

    def __init__(self) -> None:
        self._caught = [
            number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
        ]  # nohup
        self._first: float | None = None
        self._from_inside = False
        self.by_signal = False

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Inside the block the first signal is a ``KeyboardInterrupt``; what was there before comes back."""
        before = {number: signal.getsignal(number) for number in self._caught}
        for number in self._caught:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def interrupt(self) -> None:
        """Interrupt the main thread from another one, unless it is interrupted already."""
        # Later the handlers may be gone, and a signal would end the process.
        if self._caught and self._first is None:
            self._from_inside = True
            signal.pthread_kill(threading.main_thread().ident or 0, self._caught[-1])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        inside, self._from_inside = self._from_inside, False
        now = time.monotonic()
        if self._first is None:
            self._first, self.by_signal = now, not inside
            raise KeyboardInterrupt
        if not inside and now - self._first > _SAME_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
