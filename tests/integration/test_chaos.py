"""Whatever is killed, and however often: the study ends as the one that nobody disturbed, to the last digit.

One group of workers at a time. A trial whose loss is no number is among its trials.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from sdl_study.record.files import StudyFiles
from sdl_study.record.journal import read
from tests.integration.chaos import NAME, PROCESSES, SIGNALS, left_by, play
from tests.integration.conftest import Engines

EACH_ONCE = (("worker", 2), ("trainable", 3), ("broker", 3), ("driver", 3))
SETTINGS = ("budget.trials=4",)
LONG = ("budget.trials=10", "budget.max_attempts=20")  # one trial may be hit again and again
MANY, MOST_LINES = 20, 2


def test_each_fault_once(tmp_path: Path, engines: Engines) -> None:
    engines.close()
    check(tmp_path, EACH_ONCE, SETTINGS)


@pytest.mark.slow
@pytest.mark.timeout(2400)  # about forty starts of a process on a machine that others use, too
@pytest.mark.parametrize("seed", [0])
def test_many_faults_at_random(tmp_path: Path, engines: Engines, seed: int) -> None:
    engines.close()
    chance = random.Random(seed)
    kinds = (*SIGNALS, *PROCESSES)
    check(tmp_path, [(chance.choice(kinds), chance.randint(1, MOST_LINES)) for _ in range(MANY)], LONG)


def check(out: Path, faults: Sequence[tuple[str, int]], settings: tuple[str, ...]) -> None:
    epochs = play(out / "whole", (), *settings)
    # Of a trial that goes on, the last epoch may be told once more; one that began anew would tell all of them.
    assert 0 <= play(out / "broken", faults, *settings) - epochs <= len(faults)
    whole, broken = left_by(out / "whole"), left_by(out / "broken")
    failed = [trial for trial in whole["trials"] if trial["state"] == "failed"]
    assert failed
    assert {trial["failure"] for trial in failed} == {"setting"}
    assert len(whole["trials"]) == len({trial["number"] for trial in whole["trials"]})
    for part, expected in whole.items():
        assert broken[part] == expected, part
    assert attempts(out / "broken") > attempts(out / "whole")


def attempts(out: Path) -> int:
    """How often trials were begun, all together."""
    return sum(trial.attempts for trial in read(StudyFiles(out, NAME).journal).all())
