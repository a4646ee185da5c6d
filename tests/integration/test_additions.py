"""One addition, one file: a weight rule, an encoder kind, a source and a space of one's own, outside of the project.

Each goes through a study to its end.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sdl_study.own_modules import load_study
from sdl_study.record.answer import Answer
from sdl_study.record.declaration import read_declaration
from sdl_study.record.journal import read
from sdl_study.study.plan import Plan, make_plan
from sdl_study.study.session import load_data
from tests.integration.conftest import Engines
from tests.integration.tiny import tiny_data

SPACE = """
from sdl_study.arms import ANY, SD, Arm
from sdl_study.config import BudgetSettings, DataSettings, ModelSettings, Settings, TrainSettings
from sdl_study.space import SearchSpace, Study, log_uniform
{more}
STUDY = Study(
    arms=({arms}),
    method={method!r},
    space=SearchSpace(
        ({parameters}),
        {published},
    ),
    settings=Settings(
        data=DataSettings({data}),
        model=ModelSettings(encoder="mine", encoders={{"mine": {encoder}}}),
        train=TrainSettings(epochs=2, batch_size=64),
        budget=BudgetSettings(trials=2),
        controls=("label_prior",),
    ),
)
"""
PLAIN = {
    "more": "",
    "arms": "ANY, SD",
    "method": "sd",
    "parameters": 'log_uniform("loss.temperature", 0.05, 0.5),',
    "published": '{"loss.temperature": 0.07}',
    "encoder": '{"kind": "conv", "width": 16, "kernel": 3}',
}
RULE = """
from sdl_study.losses import WeightRule

class Halving(WeightRule):
    def __init__(self, rate: float = 0.5, normalizer: str = "positives") -> None:
        super().__init__(normalizer)
        self.rate = rate

    def weight(self, intersection, anchor_size, candidate_size):
        return self.rate ** (candidate_size - intersection)
"""
KIND = """
from sdl_study.models import EncoderSettings

class Settings(EncoderSettings):
    modalities = ("text",)
    width: int = 16

def build(settings, spec):
    import torch
    from torch import nn

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(spec.vocab_size, settings.width, padding_idx=spec.pad_token_id)

        def forward(self, input_ids, attention_mask):
            return self.words(input_ids)

    return Bag(), settings.width
"""
SOURCE = """
import polars as pl
from sdl_study.data.writer import Preparation, write_prepared

def prepare(name, out):
    folder = out / name
    if folder.exists():
        return folder
    splits = ["train"] * 120 + ["dev"] * 40 + ["test"] * 40
    labels = [[row % 3] + ([3] if row % 2 else []) for row in range(200)]
    index = pl.DataFrame(
        {
            "source_id": [f"id{row}" for row in range(200)],
            "source_group": [f"group{row}" for row in range(200)],
            "split": splits,
            "labels": labels,
        },
        schema_overrides={"labels": pl.List(pl.Int32)},
    )
    codes = ["a", "b", "c", "d"]
    preparation = Preparation(name, "text", "open", index, codes, codes, "by hand", {"pipeline": "mine"})
    texts = [" ".join(f"word{label}" for label in each) for each in labels]
    write_prepared(folder, preparation, [pl.DataFrame({"text": texts})])
    return folder
"""


def ended(out: Path, module: Path, engines: Engines) -> tuple[Plan, Answer]:
    """The study of a file, run to its end as the command does it."""
    own = load_study(str(module))
    plan = make_plan(own.study, out, own.name, {}, module=own.module)
    data = load_data([plan])[plan.name]
    return plan, engines.run(plan, data=data)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder outside of the project, which no import path knows."""
    folder = tmp_path / "else where"
    folder.mkdir()
    return folder


@pytest.fixture
def data(tmp_path: Path) -> str:
    return f"path={str(tiny_data(tmp_path))!r}"


def write(folder: Path, name: str, **parts: str) -> Path:
    file = folder / name
    file.write_text(SPACE.format(**{**PLAIN, **parts}))
    return file


def test_a_weight_rule_with_a_searched_setting_in_the_studys_own_module(
    elsewhere: Path, data: str, engines: Engines
) -> None:
    file = write(
        elsewhere, "halving.py", more=RULE, data=data, method="mine",
        arms='ANY, Arm("mine", loss="halving:Halving", fixed={"normalizer": "weights"})',
        parameters='log_uniform("loss.temperature", 0.05, 0.5), log_uniform("loss.rate", 0.1, 1.0),',
        published='{"loss.temperature": 0.07, "loss.rate": 0.5}',
    )  # fmt: skip
    plan, answer = ended(elsewhere / "studies", file, engines)
    trials = read(plan.files.journal).all()
    rates = [trial.parameters.get("loss.rate") for trial in trials if trial.arm == "mine"]
    assert rates[0] == 0.5
    assert len(set(rates)) == 2
    assert all("loss.rate" not in trial.parameters for trial in trials if trial.arm == "any")
    assert {trial.state for trial in trials} <= {"complete", "pruned"}
    assert answer.primary is not None
    assert (answer.primary.first, answer.primary.second) == ("mine", "any")


def test_an_encoder_kind_in_one_file(elsewhere: Path, data: str, engines: Engines) -> None:
    (elsewhere / "bag.py").write_text(KIND)
    file = write(elsewhere, "bags.py", data=data, encoder='{"kind": "bag.py", "width": 24}')
    plan, answer = ended(elsewhere / "studies", file, engines)
    assert {trial.state for trial in read(plan.files.journal).all()} <= {"complete", "pruned"}
    declaration = read_declaration(plan.files)
    assert declaration is not None
    encoder = plan.files.final(declaration.sha, "sd", 0) / "encoder" / "encoder.json"
    assert '"width": 24' in encoder.read_text()
    assert answer.primary is not None


def test_a_source_in_one_file(elsewhere: Path, engines: Engines) -> None:
    (elsewhere / "my_source.py").write_text(SOURCE)
    file = write(elsewhere, "mine.py", data='name="words", pipeline="my_source.py"')
    plan, answer = ended(elsewhere / "studies", file, engines)
    assert (plan.files.data / "words" / "manifest.json").exists()
    prior = next(row.test for row in answer.table if row.name == "label_prior")
    sd = next(row.test for row in answer.table if row.name == "sd")
    assert prior is not None
    assert sd is not None
    assert sd > prior + 0.2  # a word for every label


def test_a_search_space_in_one_file(elsewhere: Path, data: str, engines: Engines) -> None:
    plan, answer = ended(elsewhere / "studies", write(elsewhere, "space.py", data=data), engines)
    assert (answer.study, plan.files.folder.name) == ("space", "space")
    assert [row.name for row in answer.table] == ["any", "sd", "label_prior"]
