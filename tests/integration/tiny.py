"""A tiny text data set and study that a real cluster runs in seconds; also a script that runs it as a driver.

python -m tests.integration.tiny OUT [--address ADDRESS] [--name NAME] [--tracking-uri URI] [PATH=VALUE ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sdl_study.commands.study import parse_overrides
from sdl_study.config import BudgetSettings, DataSettings, ModelSettings, Settings, TrainSettings
from sdl_study.data.prepared import Terms
from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.report.text import answer_text
from sdl_study.run import main_of
from sdl_study.space import SearchSpace, Study, choice, log_uniform, uniform
from sdl_study.study.plan import Plan, make_plan
from sdl_study.study.session import execute
from sdl_study.study.showing import show
from tests.unit.study.fakes import arms_named

LABELS = 6
SIZES = {"train": 320, "dev": 80, "test": 80}


def tiny_data(folder: Path, terms: Terms = "open", marker: str = "") -> Path:
    """Sentences whose words hint at their labels; made once.

    Args:
        folder: gets the data set as ``tiny``.
        terms: of the data set.
        marker: a word that stands in every text and every source id, for the search for leaks; the first training
            example then has all labels, which no other has.
    """
    target = folder / "tiny"
    if target.exists():
        return target
    rng = np.random.default_rng(7)
    rows, texts = [], []
    for split, size in SIZES.items():
        for number in range(size):
            labels = sorted(rng.choice(LABELS, size=rng.integers(1, 4), replace=False).tolist())
            if marker and not rows:
                labels = list(range(LABELS))
            words = [marker] if marker else []
            words += [f"sign{label}x{rng.integers(3)}" for label in labels for _ in range(2)]
            words += [f"noise{rng.integers(40)}" for _ in range(6)]
            texts.append(" ".join(rng.permutation(words).tolist()))
            source = f"{split}{number}{marker}"
            rows.append({"source_id": source, "source_group": source, "split": split, "labels": labels})
    preparation = Preparation(
        name="tiny",
        modality="text",
        terms=terms,
        index=pl.DataFrame(rows),
        label_codes=[f"L{label}" for label in range(LABELS)],
        label_names=[f"label {label}" for label in range(LABELS)],
        split_origin="made by the tests",
        source={"pipeline": "tests"},
    )
    write_prepared(target, preparation, _chunks(texts))
    return target


def _chunks(texts: list[str]) -> Iterator[pl.DataFrame]:
    yield pl.DataFrame({"text": texts})


def tiny_study(data: Path, arms: tuple[str, ...] = ("bce", "any", "sd")) -> Study:
    """Three arms, three trials each, four epochs of ten steps."""
    return Study(
        arms=arms_named(*arms),
        method="sd" if "sd" in arms else None,
        space=SearchSpace(
            parameters=(
                choice("model.encoder", "conv", "bert"),
                log_uniform("train.learning_rate", 1e-3, 1e-2),
                log_uniform("loss.temperature", 0.05, 0.5),
                uniform("model.encoders.bert.dropout", 0.0, 0.3, when={"model.encoder": "bert"}),
            ),
            published={"model.encoder": "conv", "train.learning_rate": 5e-3, "loss.temperature": 0.07},
        ),
        settings=Settings(
            data=DataSettings(path=str(data), store={"max_length": 24}),
            model=ModelSettings(
                encoder="conv",
                encoders={
                    "conv": {"kind": "conv", "width": 16, "kernel": 3},
                    "bert": {"kind": "bert", "width": 16, "layers": 1, "heads": 2},
                },
            ),
            train=TrainSettings(epochs=4, batch_size=32),
            budget=BudgetSettings(trials=3),
        ),
    )


def tiny_plan(
    out: Path, overrides: Mapping[str, Any] | None = None, name: str | None = None, joins: bool = False
) -> Plan:
    """The tiny study with its data beside it."""
    study = tiny_study(tiny_data(out / "prepared"))
    return make_plan(study, out, name or "tiny", dict(overrides or {}), joins)


def command() -> None:
    """Run the study that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--address")
    parser.add_argument("--name")
    parser.add_argument("--tracking-uri")
    given, overrides = parser.parse_known_args()
    joins = given.address is not None
    plan = tiny_plan(given.out, parse_overrides(overrides), given.name, joins)
    (answer,) = execute([plan], given.address, given.tracking_uri)
    print("\n".join([answer_text(answer), *show(plan, given.tracking_uri)]))


if __name__ == "__main__":
    sys.exit(main_of(command))
