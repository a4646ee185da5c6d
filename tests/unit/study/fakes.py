"""A small study without data or cluster, and a runner that plays Ray Tune's part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna

from sdl_study import arms as known_arms
from sdl_study.arms import Arm
from sdl_study.config import (
    BudgetSettings,
    DataSettings,
    ModelSettings,
    Settings,
    TrainSettings,
)
from sdl_study.record.journal import DriverJournal
from sdl_study.record.trials import TrialRecord
from sdl_study.space import SearchSpace, Study, choice, log_uniform, uniform
from sdl_study.study.plan import Plan, make_plan
from sdl_study.study.search.sampler import sampler_for
from sdl_study.study.search.scheduler import first_rung, rungs
from sdl_study.study.search.searcher import Search
from sdl_study.workers.events import Epoch

Curve = Callable[[str, Mapping[str, Any], int], float]
"""Dev value of an arm's setting after an epoch."""


def arms_named(*names: str) -> tuple[Arm, ...]:
    """Arms of the library by name."""
    return tuple(getattr(known_arms, name.upper()) for name in names)


def small_study(
    arms: tuple[str, ...] = ("any", "sd"), trials: int = 4, epochs: int = 4, seed: int = 0
) -> Study:
    return Study(
        arms=arms_named(*arms),
        method="sd" if "sd" in arms else None,
        space=SearchSpace(
            parameters=(
                choice("model.encoder", "conv", "bert"),
                log_uniform("train.learning_rate", 1e-4, 1e-1),
                log_uniform("loss.temperature", 0.03, 0.5),
                uniform("model.encoders.bert.dropout", 0.0, 0.5, when={"model.encoder": "bert"}),
            ),
            published={"model.encoder": "conv", "train.learning_rate": 1e-3, "loss.temperature": 0.07},
        ),
        settings=Settings(
            seed=seed,
            data=DataSettings(name="small", path="nowhere"),
            model=ModelSettings(
                encoder="conv", encoders={"conv": {"kind": "conv"}, "bert": {"kind": "bert"}}
            ),
            train=TrainSettings(epochs=epochs),
            budget=BudgetSettings(trials=trials, max_attempts=2),
        ),
    )


def small_plan(out: Path, overrides: Mapping[str, Any] | None = None, **study: Any) -> Plan:
    return make_plan(small_study(**study), out, "small", dict(overrides or {}))


class Watcher:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def started(self, record: TrialRecord) -> None:
        self.told.append(("started", record.number))

    def epoch(self, record: TrialRecord, epoch: int) -> None:
        self.told.append((f"epoch {epoch}", record.number))

    def ended(self, record: TrialRecord) -> None:
        self.told.append(("ended", record.number))


def open_search(
    plan: Plan, concurrent: int = 1, clock: Callable[[], float] = time.monotonic, gpus: float = 0.0
) -> Search:
    plan.files.folder.mkdir(parents=True, exist_ok=True)
    settings = plan.settings
    budget = settings.budget
    journal = DriverJournal(
        plan.files.journal, plan.name, plan.arm_names, settings.objective, budget.searches
    )

    def ask(arm: str, search: int) -> TrialRecord:
        study, fixed = journal.optuna_study(arm, search), plan.fixed(arm)

        def suggest(trial: optuna.Trial) -> object:
            return plan.space.suggest(trial, arm, fixed)

        def sampler_of(number: int) -> tuple[optuna.samplers.BaseSampler, str]:
            warm = len(plan.first_points(arm)) - 1
            return sampler_for(study, settings.seed, arm, number, budget.trials_of_search, search, warm)

        return journal.ask(arm, sampler_of, suggest, plan.first_points(arm), search)

    return Search(
        journal=journal,
        ask=ask,
        job=lambda record, resumed: {
            "key": f"{plan.name}/trial/{record.number}",
            "number": record.number,
            "resumed": resumed,
        },
        trials=budget.trials_of_search,
        rungs=rungs(settings.train.epochs, first_rung(settings, plan.space, rows=1), budget.reduction_factor),
        reduction_factor=settings.budget.reduction_factor,
        concurrent=lambda: concurrent,
        epochs=settings.train.epochs,
        max_attempts=settings.budget.max_attempts,
        observers=[Watcher()],
        budget=budget,
        gpus=gpus,
        clock=clock,
    )


def start(search: Search, trial_id: str) -> tuple[TrialRecord, bool] | None:
    """Ask for a trial as Tune does; the record and whether it goes on where it was."""
    config = search.next_trial(trial_id)
    if config is None:
        return None
    return search.journal.get(config["job"]["number"]), config["job"]["resumed"]


def report(search: Search, record: TrialRecord, epoch: int, value: float) -> bool:
    """Tell the search of an epoch."""
    return search.heard(record.number, Epoch(epoch, {"dev/map": value, "train/loss": 1.0}))


def play(search: Search, curve: Curve, stop_after: int | None = None) -> None:
    """Run trials one after another to the end, or until some have ended (the driver is killed then)."""
    ended = 0
    while not search.finished and (stop_after is None or ended < stop_after):
        trial_id = f"tune-{ended}"
        started = start(search, trial_id)
        assert started is not None
        record = started[0]
        for epoch in range(1 + max(record.epochs, default=0), search.epochs + 1):
            if not report(search, record, epoch, curve(record.arm, record.parameters, epoch)):
                break
        search.ended(trial_id, error=False)
        ended += 1
