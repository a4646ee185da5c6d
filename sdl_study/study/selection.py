"""From trials to a declaration: winners of the arms, the primary contrast, and what is fixed before test data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sdl_study.arms import BEFORE_TRAINING, FROZEN, UNTRAINED
from sdl_study.errors import UserError
from sdl_study.models import parse_encoder_settings
from sdl_study.record.declaration import Declaration, Winner, keep_or_write
from sdl_study.record.outcome import Repeat
from sdl_study.record.trials import TrialRecord
from sdl_study.study.jobs import JobMaker, Work
from sdl_study.study.located import encoder_of
from sdl_study.study.plan import Plan


def candidates(records: Sequence[TrialRecord], arm: str, top: int) -> list[TrialRecord]:
    """The arm's best trials on dev: complete ones first, then those that ASHA stopped; the earlier on a tie."""
    scored = [
        r for r in records if r.arm == arm and r.objective is not None and r.state in ("complete", "pruned")
    ]
    return sorted(scored, key=lambda r: (r.state != "complete", -float(r.objective or 0), r.number))[:top]


def repeats(plan: Plan, records: Sequence[TrialRecord], maker: JobMaker) -> list[Work]:
    """The selection's jobs: the best trials of every arm on further seeds."""
    budget = plan.settings.budget
    return [
        maker.repeat(record, number)
        for arm in plan.arm_names
        for record in candidates(records, arm, budget.selection_top)
        for number in range(budget.selection_seeds)
    ]


def winners(plan: Plan, records: Sequence[TrialRecord], maker: JobMaker) -> list[Winner]:
    """The best trial of every arm by the mean of its dev values over the search's and the selection's seeds.

    A trial that failed on a selection seed stands behind those that did not, and one that ASHA stopped behind
    those that ran to the end.

    Raises:
        UserError: an arm has no trial with a value.
    """
    found = []
    for arm in plan.arm_names:
        best = candidates(records, arm, plan.settings.budget.selection_top)
        if not best:
            raise UserError(_all_failed(plan, records, arm))
        scored = [(*_repeated(plan, record, maker), record) for record in best]
        _, value, record = min(
            scored, key=lambda item: (item[0], item[2].state != "complete", -item[1], item[2].number)
        )
        found.append(Winner(arm, record.number, record.parameters, value))
    return found


def _all_failed(plan: Plan, records: Sequence[TrialRecord], arm: str) -> str:
    reasons = dict.fromkeys(record.reason for record in records if record.arm == arm and record.reason)
    told = "; ".join(str(reason) for reason in reasons)
    return (
        f"{plan.name}: arm {arm}: every trial failed: {told}"
        if told
        else (f"{plan.name}: arm {arm}: no trial has a value")
    )


def _repeated(plan: Plan, record: TrialRecord, maker: JobMaker) -> tuple[int, float]:
    """How many repeats of a trial failed, and the mean over the search's value and those of the others."""
    work = [maker.repeat(record, number) for number in range(plan.settings.budget.selection_seeds)]
    results = [outcome for item in work if isinstance(outcome := item.outcome, Repeat)]
    values = [float(record.objective or 0), *(float(result.objective) for result in results)]
    return len(work) - len(results), sum(values) / len(values)


def primary_contrast(plan: Plan, found: Sequence[Winner]) -> tuple[str, str] | None:
    """The method against the best arm on dev among those that are no variant of it; None without either."""
    others = [winner for winner in found if winner.arm not in plan.variants]
    if plan.method is None or not others:
        return None
    return plan.method, max(others, key=lambda winner: winner.dev).arm


def _named(controls: Sequence[str], plan: Plan, reference: Winner) -> tuple[str, ...]:
    """The controls, with the encoder before training under its right name, once, whichever of the two was asked for:
    ``frozen`` where the reference's encoder is built with published weights, else ``untrained``."""
    model = plan.with_parameters(reference.parameters).model
    kind, chosen = encoder_of(model.encoders[model.encoder], plan.module)
    right = FROZEN if parse_encoder_settings(kind, chosen).pretrained else UNTRAINED
    return tuple(dict.fromkeys(right if name in BEFORE_TRAINING else name for name in controls))


def declare(
    plan: Plan, found: Sequence[Winner], controls: tuple[str, ...], fingerprint: str, code_version: str
) -> Declaration:
    """Write (or keep) the declaration before any final.

    A declaration whose winners, data and seeds are still the same is kept as it is, so that a study that was
    extended without another winner keeps its finals.
    """
    settings = plan.settings
    declaration = Declaration(
        study=plan.name,
        winners=tuple(found),
        best_arm_on_dev=max(found, key=lambda winner: winner.dev).arm,
        method=plan.method,
        variants=plan.variants,
        primary_contrast=primary_contrast(plan, found),
        primary_metric=settings.primary_metric,
        primary_stage=settings.stage,
        controls=controls,
        study_seed=settings.seed,
        final_seeds=settings.budget.final_seeds,
        selection_seeds=settings.budget.selection_seeds,
        trials_per_arm=settings.budget.trials,
        epochs=settings.train.epochs,
        data_fingerprint=fingerprint,
        code_version=code_version,
    )
    reference = declaration.winner(declaration.reference_arm)
    return keep_or_write(plan.files, replace(declaration, controls=_named(controls, plan, reference)))
