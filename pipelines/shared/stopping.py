"""An orderly end of a pipeline by Ctrl-C, SIGTERM or SIGHUP: at once, in one line, and no notes left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sdl_study.data.folders import discard_unfinished

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stopped_in_order() -> Iterator[None]:
    """Inside the block the three signals remove unfinished folders and end the process with 128 + number.

    A thread does it: Python's own handlers wait for the main thread, which may be inside one call of polars
    for minutes, and a batch system kills half a minute after its SIGTERM. A signal that is ignored (nohup)
    stays ignored. Outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    caught = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN]
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    watcher = threading.Thread(target=_end_at_signal, args=(reading,), name="signals", daemon=True)
    watcher.start()
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        for number in caught:
            signal.signal(number, _leave_it_to_the_thread)
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])
        signal.set_wakeup_fd(wakeup)
        os.close(writing)
        watcher.join()
        os.close(reading)


def _leave_it_to_the_thread(number: int, frame: object) -> None:
    """The number is in the pipe already."""


def _end_at_signal(pipe: int) -> None:
    while received := os.read(pipe, 1):
        if received[0] in _SIGNALS:
            number = signal.Signals(received[0])
            line = (
                f"error: stopped by {number.name}; unfinished files are removed, what was finished is kept\n"
            )
            try:
                discard_unfinished()
            finally:
                with suppress(OSError):  # the terminal that hung up
                    os.write(2, line.encode())
                os._exit(128 + number)
