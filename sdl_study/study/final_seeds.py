"""How many finals a winner gets, where that follows from how long trials took."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sdl_study.arms import AGAIN
from sdl_study.config import BudgetSettings
from sdl_study.record.declaration import Winner, read_declaration
from sdl_study.record.trials import TrialRecord
from sdl_study.stages import FINETUNE
from sdl_study.study.plan import Plan

# ``budget.final_seeds="auto"``: three seeds decide little, and where a final is short more cost next to nothing.
SHORT_FINAL_SECONDS, SEEDS_OF_SHORT, SEEDS_OF_LONG = 60.0, 10, 3
SEEDS_WITH_AA = 5
"""From so many final seeds of an arm on the A/A arm is part of a study with a method."""


def final_seeds(plan: Plan, found: Sequence[Winner], records: Sequence[TrialRecord]) -> int:
    """How many finals a winner gets: what the settings say, or what the length of trials suggests.

    A study that was declared before keeps its number; several searches share it.
    """
    wanted = plan.settings.budget.final_seeds
    if wanted != "auto":
        return wanted
    before = read_declaration(plan.files)
    if before is not None:
        return before.final_seeds
    by_number = {record.number: record for record in records}
    own = [by_number[winner.trial] for winner in found]
    settings = plan.settings
    epochs = settings.train.epochs + (settings.finetune.epochs if FINETUNE in settings.stages else 0)
    seconds = max(epochs * record.seconds / len(record.epochs) for record in own)
    seeds = SEEDS_OF_SHORT if seconds < SHORT_FINAL_SECONDS else SEEDS_OF_LONG
    return shared_seeds(seeds, plan.settings.budget)


def shared_seeds(seeds: int, budget: BudgetSettings) -> int:
    """What each of an arm's searches gets of the seeds that they share."""
    return math.ceil(seeds / budget.searches)


def trains_again(plan: Plan, seeds: int) -> bool:
    """Whether the method's winners are trained once more: asked for, or a share of the cost that many seeds allow.

    Args:
        plan: the study; one that has an arm of this name has an A/A arm of its own.
        seeds: finals of every winner.
    """
    if plan.method is None or AGAIN in plan.arm_names:
        return False
    return plan.aa or seeds * plan.settings.budget.searches >= SEEDS_WITH_AA
