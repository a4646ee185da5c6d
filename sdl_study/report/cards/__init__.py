"""The cards of the study page, in the order in which they stand; each file has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sdl_study.report.cards import (
    answer,
    bands,
    calibration,
    curves,
    dataset,
    embeddings,
    environment,
    importance,
    labels,
    leaderboard,
    parallel,
    pareto,
    relations,
    reproduce,
    search,
    slices,
    sweep,
    temperature,
    trials,
)

if TYPE_CHECKING:
    from sdl_study.report.page.card import Card
    from sdl_study.report.page.frames import StudyFrames

CARDS: tuple[Callable[[StudyFrames], Card], ...] = (
    answer.card, leaderboard.card, search.card, temperature.card, sweep.card, curves.card, importance.card,
    parallel.card, slices.card, relations.card, bands.card, labels.card, calibration.card, pareto.card, embeddings.card,
    trials.card, dataset.card, environment.card, reproduce.card,
)  # fmt: skip
