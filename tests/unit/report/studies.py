"""Studies on the disk without Ray: a search that was played, finals with drawn scores, the answer that follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sdl_study.data.prepared import band_of
from sdl_study.evaluation.embeddings import EMBEDDINGS_FILE, save_embeddings, some_places
from sdl_study.evaluation.ledger import append_line
from sdl_study.evaluation.predictions import FinalIdentity, Predictions, write_predictions
from sdl_study.evaluation.targets import Targets
from sdl_study.files import write_json, write_text
from sdl_study.record.answer import make_answer
from sdl_study.record.declaration import Declaration, Winner
from sdl_study.record.environment import environment, note_environment
from sdl_study.record.finals import final_slots, read_finals
from sdl_study.record.journal import read
from sdl_study.record.outcome import Failure, Result, write_outcome
from sdl_study.record.trials import leaderboard
from sdl_study.report.tables import csv_table
from sdl_study.space import Study
from sdl_study.stages import PROBE
from sdl_study.study.plan import Plan, make_plan
from tests.unit.study.fakes import open_search, play, small_plan

DOCUMENTS, LABELS = 60, 12
FINGERPRINT = "f" * 64
COUNTS = (400, 300, 200, 120, 90, 60, 30, 20, 9, 5, 3, 1)
Quality = Callable[[str, int], float]
"""How far an arm's scores of a seed stand apart, in standard deviations of their noise."""


def curve(arm: str, parameters: Mapping[str, Any], epoch: int) -> float:
    """A dev value that rises and depends on the temperature."""
    tau = parameters.get("loss.temperature", 0.1)
    return 0.5 + 0.1 * (1 - 0.5**epoch) - 0.02 * (np.log(tau / 0.1)) ** 2 + 0.01 * (arm == "sd")


def searched(
    out: Path, terms: str = "open", overrides: Mapping[str, Any] | None = None, stop_after: int | None = None,
    made: Study | None = None, **study: Any,
) -> Plan:  # fmt: skip
    """A study whose search was played, on a prepared data set that a reader finds."""
    given = {"objective_min_positives": 0, **(overrides or {})}
    plan = small_plan(out, given, **study) if made is None else make_plan(made, out, "small", given)
    prepared(plan, terms)
    known = {"data_fingerprint": FINGERPRINT, "terms": terms, "code_version": "1+abc"}
    write_json(plan.files.study_json, plan.identity() | known)
    note_environment(plan.files, environment("1+abc", "small", {"budget.trials": 4}))
    play(open_search(plan), curve, stop_after)
    return plan


def prepared(
    plan: Plan, terms: str = "open", labels: Sequence[int] = COUNTS, documents: int = DOCUMENTS
) -> Path:
    """What a reader looks at of a prepared data set."""
    folder = plan.files.data / "prepared" / "small"
    splits = (("train", 700), ("dev", 80), ("test", documents))
    counts = {
        split: {
            "examples": n,
            "groups": n // 2,
            "labels_present": len(labels),
            "mean_labels": 2.0,
            "without_labels": 4,
        }
        for split, n in splits
    }
    write_json(folder / "manifest.json", {
        "name": "small", "fingerprint": FINGERPRINT, "counts": counts, "modality": "text", "num_labels": len(labels),
        "terms": terms, "source": {"pipeline": "table", "file": "/home/somebody/notes.csv"}, "split_origin": "by hash",
        "leakage": {"duplicate_inputs": {"train-test": 3}}, "notes": ["<b>a note</b>"], "digests": {}, "file_bytes": {},
        "format_version": 1, "num_features": None,
    })  # fmt: skip
    pl.DataFrame({
        "index": range(len(labels)), "code": [f"C{i:02d}" for i in range(len(labels))],
        "name": ["a label"] * len(labels),
        "train_count": labels, "band": [band_of(count) for count in labels],
    }).write_parquet(folder / "labels.parquet")  # fmt: skip
    write_text(folder / "test_labels.parquet", "sealed: readers look for its name alone")
    return folder


def declared(plan: Plan, seeds: int = 3, aa: str | None = None) -> Declaration:
    """The best trials of a played search, declared."""
    trials = [trial for trial in read(plan.files.journal).all() if trial.objective is not None]
    best = [
        max((t for t in trials if t.arm == arm), key=lambda t: t.objective or 0) for arm in plan.arm_names
    ]
    winners = tuple(Winner(t.arm, t.number, t.parameters, t.objective or 0.0) for t in best)
    declaration = Declaration(
        study=plan.name, winners=winners, best_arm_on_dev=max(winners, key=lambda w: w.dev).arm, method=plan.method,
        variants=("sd",), primary_contrast=("sd", "any"), primary_metric="test/macro_f1",
        primary_stage=plan.settings.stage, stages=plan.settings.stages,
        controls=("label_prior",), study_seed=0, final_seeds=seeds, selection_seeds=0, trials_per_arm=4, epochs=4,
        data_fingerprint=FINGERPRINT, code_version="1+abc", aa=aa,
    )  # fmt: skip
    write_json(plan.files.declaration, declaration.to_dict())
    return declaration


def answered(
    plan: Plan, quality: Quality, seeds: int = 3, failing: str | None = None, exploratory: Sequence[str] = (),
    documents: int = DOCUMENTS, width: int = LABELS,
    share: float = 0.25, threshold: float = 0.5, aa: str | None = None,
) -> Declaration:  # fmt: skip
    """Finals with scores of a quality, their ledger lines, and the answer that they amount to."""
    declaration = declared(plan, seeds, aa)
    ledger = plan.files.data / "prepared" / "small"
    truth = np.random.default_rng(1).random((documents, width)) < share
    places = np.nonzero(truth)[0], np.nonzero(truth)[1]
    for slot in final_slots(plan.files, declaration):
        slot.folder.mkdir(parents=True)
        if slot.name == failing:
            write_outcome(slot.folder, Failure("FloatingPointError in training/step.py:12"))
            continue
        noise = np.random.default_rng(
            [7, slot.seed_number, *b"finetune"[: 8 * (slot.stage != PROBE)]]
        ).normal(size=truth.shape)
        scores = 1 / (1 + np.exp(-(quality(slot.name, slot.seed_number) * (truth - 0.4) + noise)))
        identity = FinalIdentity(plan.name, slot.name, slot.stage, slot.seed_number, slot.role)
        append_line(
            ledger, identity, fingerprint=FINGERPRINT, declaration=declaration.sha, code_version="1+abc"
        )
        write_predictions(slot.predictions, Predictions(
            ids=np.arange(documents) + 880_000, groups=np.arange(documents) // 2, scores=scores.astype(np.float32),
            targets=Targets(*places, (documents, width)), identity=identity, declaration=declaration.sha,
            fingerprint=FINGERPRINT, code_version="1+abc", threshold=threshold,
        ), private=False)  # fmt: skip
        if slot.role == "final" and slot.stage == PROBE:
            rows = some_places(documents, 0)
            made = np.random.default_rng(slot.seed_number).normal(size=(rows.size, 6)) + truth[rows, :6]
            save_embeddings(slot.folder / EMBEDDINGS_FILE, rows + 880_000, made)
        result = Result({plan.settings.objective_key: 0.6}, 2800, 4, 3.0, 1, "cpu")
        write_outcome(slot.folder, result)
    trials = read(plan.files.journal).all()
    answer = make_answer(
        plan.settings,
        plan.space,
        plan.arms,
        declaration,
        trials,
        read_finals(plan.files, declaration),
        exploratory,
    )
    board = leaderboard(trials)
    write_text(plan.files.leaderboard, csv_table(board, list(board[0])))
    write_json(plan.files.answer, answer.to_dict())
    return declaration
