"""From trials to a declaration: winners of the arms, the primary contrast, and what is fixed before test data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from statistics import fmean

from sdl_study.arms import BEFORE_TRAINING, FROZEN, UNTRAINED
from sdl_study.budget import Limit, Spent
from sdl_study.errors import UserError
from sdl_study.models import parse_encoder_settings
from sdl_study.record.declaration import Declaration, Winner, keep_or_write
from sdl_study.record.findings import could_learn
from sdl_study.record.trials import TrialRecord, candidates, spent_on
from sdl_study.study.choice import Repeated, chosen
from sdl_study.study.final_seeds import final_seeds, trains_again
from sdl_study.study.jobs import JobMaker, Work
from sdl_study.study.located import encoder_of
from sdl_study.study.plan import Plan
from sdl_study.study.search.scheduler import longest


def _searches(plan: Plan) -> list[tuple[str, int]]:
    """Every search, as arm and number: the first of all arms, then the second, ..."""
    return [(arm, search) for search in range(plan.settings.budget.searches) for arm in plan.arm_names]


def repeats(plan: Plan, records: Sequence[TrialRecord], maker: JobMaker) -> list[Work]:
    """The selection's jobs: the best trials of every search on further seeds."""
    return [
        work
        for arm, search in _searches(plan)
        for record in _to_choose_from(plan, records, maker, arm, search)
        for work in _again(plan, record, maker)
    ]


def _to_choose_from(
    plan: Plan, records: Sequence[TrialRecord], maker: JobMaker, arm: str, search: int
) -> list[TrialRecord]:
    """The best trials of a search; on folds of train and dev, the published setting too."""
    ranked = candidates(records, arm, len(records), search)
    best, others = ranked[: plan.settings.budget.selection_top], ranked[plan.settings.budget.selection_top :]
    published = [record for record in others if record.is_published and record.state == "complete"]
    return best + published if maker.folds else best


def _again(plan: Plan, record: TrialRecord, maker: JobMaker) -> list[Work]:
    return [maker.repeat(record, number) for number in range(plan.settings.budget.repeats(maker.folds))]


def winners(plan: Plan, records: Sequence[TrialRecord], maker: JobMaker) -> list[Winner]:
    """The best trial of every search by the mean of its dev values: over the search's and the selection's seeds, or,
    on folds of train and dev, over these.

    A trial that failed on a selection seed stands behind those that did not, and one that ASHA stopped behind
    those that ran to the end.

    Raises:
        UserError: a search has no trial with a value.
    """
    found = []
    for arm, search in _searches(plan):
        best = _to_choose_from(plan, records, maker, arm, search)
        if not best:
            raise UserError(_all_failed(plan, records, arm, search))
        repeated = [
            Repeated(record, tuple(work.outcome for work in _again(plan, record, maker))) for record in best
        ]
        record, value = chosen(repeated, maker.folds)
        found.append(Winner(arm, record.number, record.parameters, value, search))
    return found


def _all_failed(plan: Plan, records: Sequence[TrialRecord], arm: str, search: int) -> str:
    own = [record for record in records if (record.arm, record.search) == (arm, search)]
    told = "; ".join(dict.fromkeys(record.reason for record in own if record.reason))
    where = f"{plan.name}: arm {arm}" + (f", search {search}" if plan.settings.budget.searches > 1 else "")
    return f"{where}: every trial failed: {told}" if told else f"{where}: no trial has a value"


def _on_dev(found: Sequence[Winner]) -> dict[str, float]:
    """What every arm reached on dev, mean over its searches."""
    arms = dict.fromkeys(winner.arm for winner in found)
    return {arm: fmean(winner.dev for winner in found if winner.arm == arm) for arm in arms}


def primary_contrast(
    plan: Plan, found: Sequence[Winner], unable: Collection[str] = ()
) -> tuple[str, str] | None:
    """The method against the best arm on dev among those that are no variant of it and could learn.

    None without either.

    Args:
        plan: the study.
        found: the winners.
        unable: arms that could not learn: one that stays untrained may be the best on dev by chance.
    """
    others = {
        arm: dev for arm, dev in _on_dev(found).items() if arm not in plan.variants and arm not in unable
    }
    if plan.method is None or not others:
        return None
    return plan.method, max(others, key=lambda arm: others[arm])


def unable_arms(found: Sequence[Winner], records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """The arms in none of whose searches the winner's batches held enough to contrast."""
    by_number = {record.number: record for record in records}
    able = {winner.arm for winner in found if could_learn([by_number[winner.trial]])}
    return tuple(arm for arm in _on_dev(found) if arm not in able)


def _named(controls: Sequence[str], plan: Plan, reference: Winner) -> tuple[str, ...]:
    """The controls, with the encoder before training under its right name, once, whichever of the two was asked for:
    ``frozen`` where the reference's encoder is built with published weights, else ``untrained``."""
    model = plan.with_parameters(reference.parameters).model
    kind, chosen = encoder_of(model.encoders[model.encoder], plan.module)
    right = FROZEN if parse_encoder_settings(kind, chosen).published_weights else UNTRAINED
    return tuple(dict.fromkeys(right if name in BEFORE_TRAINING else name for name in controls))


def declare(
    plan: Plan,
    found: Sequence[Winner],
    records: Sequence[TrialRecord],
    controls: tuple[str, ...],
    fingerprint: str,
    code_version: str,
    spent: Spent | None = None,
    folds: bool = False,
) -> Declaration:
    """Write (or keep) the declaration before any final.

    A declaration whose winners, data and seeds are still the same is kept as it is, so that a study that was
    extended without another winner keeps its finals.

    Args:
        plan: the study.
        found: the winners.
        records: all trials.
        controls: names of those that run beside the finals.
        fingerprint: of the data.
        code_version: of this program.
        spent: on the search; None: all of its trials.
        folds: whether the winners were chosen on folds of train and dev.
    """
    settings, on_dev = plan.settings, _on_dev(found)
    ended_by: Limit = "trials" if spent is None else settings.budget.ended_by(spent) or "trials"
    contrast = primary_contrast(plan, found, unable_arms(found, records))
    seeds = final_seeds(plan, found, records)
    declaration = Declaration(
        study=plan.name,
        winners=tuple(found),
        best_arm_on_dev=max(on_dev, key=lambda arm: on_dev[arm]),
        method=plan.method,
        variants=plan.variants,
        primary_contrast=contrast,
        primary_metric=settings.primary_metric,
        primary_stage=settings.stage,
        controls=controls,
        study_seed=settings.seed,
        final_seeds=seeds,
        selection_seeds=settings.budget.repeats(folds),
        trials_per_arm=_trials_per_arm(plan, records, ended_by),
        epochs=longest(settings, plan.space),
        data_fingerprint=fingerprint,
        code_version=code_version,
        searches=settings.budget.searches,
        stages=settings.stages,
        aa=plan.method if trains_again(plan, seeds) else None,
        ended_by=ended_by,
    )
    reference = declaration.winner(declaration.reference_arm)
    return keep_or_write(plan.files, replace(declaration, controls=_named(controls, plan, reference)))


def _trials_per_arm(plan: Plan, records: Sequence[TrialRecord], ended_by: Limit) -> int:
    """As the budget says; where time ended the search, what every arm has had at least."""
    budget = plan.settings.budget
    return (
        budget.trials if ended_by == "trials" else budget.searches * spent_on(records, _searches(plan)).fewest
    )
