"""First trials from an earlier study: its winners and the best few of every arm, asked after the published setting.

They were chosen there by dev alone, as all trials are; test data have no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sdl_study.errors import UserError
from sdl_study.record.files import StudyFiles
from sdl_study.record.identity import read_identity
from sdl_study.record.reading import StudyRecord, read_study
from sdl_study.record.trials import TrialRecord, candidates
from sdl_study.record.warm import WarmPoint, WarmStart
from sdl_study.study.plan import Plan

MOST_POINTS = 3


def with_warm_start(plan: Plan, given: str | None) -> Plan:
    """The plan with its first trials: those that its record has, or of the study that is named.

    Args:
        plan: a new study, or one that goes on.
        given: the earlier study: its name beside the new one, or its folder; None: what the record has.

    Raises:
        UserError: there is no such study, an arm finds nothing there, or the new one began otherwise.
    """
    out = plan.files.out
    if plan.files.study_json.exists():
        recorded = read_identity(plan.files.study_json).get("warm_start")
        if given is not None and (recorded is None or recorded["study"] != _files(given, out).name):
            began = "without one" if recorded is None else f"from {recorded['study']}"
            raise UserError(f"--warm-start {given}: {plan.name} began {began}; start another with --name")
        return plan if recorded is None else replace(plan, warm=WarmStart.from_dict(recorded))
    return plan if given is None else replace(plan, warm=_of_study(plan, given))


def _of_study(plan: Plan, given: str) -> WarmStart:
    """The first trials that an earlier study gives to a new one."""
    try:
        earlier = read_study(_files(given, plan.files.out))
    except UserError as error:
        raise UserError(f"--warm-start: {error}") from None
    budget = plan.settings.budget
    if budget.searches > 1:
        raise UserError(
            f"--warm-start {given}: {budget.searches} searches of an arm would all begin alike and be independent no "
            "more; use one (budget.searches=1)"
        )
    if budget.trials < 2:
        raise UserError(f"--warm-start {given}: the first trial is the published setting; give more --trials")
    found = {arm.name: list(_points(plan, arm.name, earlier)) for arm in plan.arms}
    lacking = [arm for arm, points in found.items() if not points]
    if lacking:
        raise UserError(
            f"--warm-start {given}: has no setting for {', '.join(lacking)} (an arm of this name, with a trial that "
            "has a value and parameters in these ranges), and every arm gets equally many; leave arms out, or it"
        )
    # As many of each arm as of the one with the fewest: extra trials for some would be no fair search.
    count = min(budget.trials - 1, *(len(points) for points in found.values()))
    points = {arm: tuple(own[:count]) for arm, own in found.items()}
    fingerprint = str(earlier.identity["data_fingerprint"])
    return WarmStart(earlier.files.name, fingerprint, points)


def _files(given: str, out: Path) -> StudyFiles:
    folder = Path(given)
    if (folder / "study.json").is_file():
        return StudyFiles(folder.resolve().parent, folder.resolve().name)
    return StudyFiles(out.resolve(), given)


def _points(plan: Plan, arm: str, earlier: StudyRecord) -> Iterator[WarmPoint]:
    """An arm's winner, then its best on dev, as far as the new space can ask them; none twice."""
    fixed = plan.fixed(arm)
    seen = [plan.space.published_point(arm, fixed)]
    for trial in _best(arm, earlier):
        parameters = plan.space.point_within(arm, fixed, trial.parameters)
        if parameters and parameters not in seen:
            seen.append(parameters)
            yield WarmPoint(trial.number, parameters)
        if len(seen) > MOST_POINTS:
            return


def _best(arm: str, earlier: StudyRecord) -> Iterator[TrialRecord]:
    declared = () if earlier.declaration is None else earlier.declaration.winners
    won = {winner.trial for winner in declared if winner.arm == arm}
    yield from (trial for trial in earlier.trials if trial.number in won)
    for search in sorted({trial.search for trial in earlier.trials}):
        yield from candidates(earlier.trials, arm, len(earlier.trials), search)
