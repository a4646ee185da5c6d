"""The signals that end a command: the first in order, the second at once; handlers come back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sdl_study.study.signals import Interruptions

ROOT = Path(__file__).resolve().parents[3]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COMMAND = """
import sys, time
from sdl_study.ending import main_of
from sdl_study.study.signals import Interruptions
def work():
    with Interruptions().in_order():
        try:
            print("begun")
            time.sleep(30)
        finally:
            print("in order")
            time.sleep({closing})
sys.exit(main_of(work))
"""


def begun(closing: float, before: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", before + COMMAND.format(closing=closing)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_ends_in_order_and_two_at_once_are_one(number: signal.Signals) -> None:
    process = begun(0.5)
    process.send_signal(number)
    time.sleep(0.1)
    process.send_signal(number)  # a terminal that closes
    out, told = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "in order\n")
    assert told == "interrupted; the same command goes on where it was\n"


@pytest.mark.parametrize(
    ("first", "second"), [*zip(SIGNALS, SIGNALS, strict=True), (signal.SIGHUP, signal.SIGTERM)]
)
def test_the_second_ends_at_once(first: signal.Signals, second: signal.Signals) -> None:
    process = begun(30.0)
    process.send_signal(first)
    assert process.stdout is not None
    assert process.stdout.readline() == "in order\n"
    time.sleep(0.5)
    process.send_signal(second)
    process.communicate(timeout=10)
    assert process.returncode == -second


def test_an_ignored_signal_stays_ignored() -> None:
    """As under ``nohup``."""
    process = begun(0.0, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_the_handlers_come_back() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signals = Interruptions()
    with signals.in_order():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert signals.by_signal
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_an_interruption_from_inside_comes_once_and_never_in_addition() -> None:
    signals = Interruptions()
    with signals.in_order():
        timer = threading.Timer(0.3, signals.interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(5.0)
        timer.join()
        assert not signals.by_signal
        time.sleep(0.4)
        signals.interrupt()
        time.sleep(0.1)
    signals = Interruptions()
    with signals.in_order():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
        time.sleep(0.4)
        signals.interrupt()  # Ray went away too: the closing terminal's signal reached it as well
        time.sleep(0.1)
    assert signals.by_signal


LATE_FROM_INSIDE = """
import sys
from sdl_study.ending import main_of
from sdl_study.study.signals import Interruptions
signals = Interruptions()
def work():
    try:
        with signals.in_order():
            signals.interrupt()
            sys.stdin.read()
    finally:
        signals.interrupt()
sys.exit(main_of(work))
"""


def test_from_inside_nothing_interrupts_what_is_interrupted() -> None:
    """A thread may notice only then that Ray is gone; the handlers are gone too."""
    command = [sys.executable, "-c", LATE_FROM_INSIDE]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = process.stderr.read()
    assert (process.wait(timeout=20), told) == (130, "interrupted; the same command goes on where it was\n")
