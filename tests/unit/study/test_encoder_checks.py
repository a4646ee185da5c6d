"""Pretrained encoders and tokenizers are looked at before a study's folder is made; workers find them from anywhere."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdl_study.arms import ANY, SD
from sdl_study.config import DataSettings, ModelSettings, Settings, TrainSettings
from sdl_study.data.prepared import PreparedData
from sdl_study.data.stores import expected_spec, open_store
from sdl_study.errors import UserError
from sdl_study.models import build_encoder
from sdl_study.space import SearchSpace, Study, choice
from sdl_study.study.located import located
from sdl_study.study.plan import Plan, make_plan
from sdl_study.study.readings import candidates, check_encoders_fit
from sdl_study.study.session import load_data
from tests.unit.data import small
from tests.unit.models import published


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    small.write_text(tmp_path / "data")
    return PreparedData.load(tmp_path / "data")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return published.bert(tmp_path / "good")


@pytest.fixture
def broken(good: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(good, tmp_path / "broken"))
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    return folder


def settings(
    tokenizer: Path | str, encoders: dict[str, dict[str, Any]], chosen: str, data: Path | str
) -> Settings:
    store = {"tokenizer": "pretrained", "name": str(tokenizer), "max_length": 32}
    return Settings(
        data=DataSettings(path=str(data), store=store),
        model=ModelSettings(encoder=chosen, encoders=encoders),
        train=TrainSettings(epochs=1, workers=1),
    )


def hub(folder: Path) -> dict[str, Any]:
    return {"kind": "hub", "name": str(folder)}


def plan_of(out: Path, space: SearchSpace, chosen: Settings) -> Plan:
    return make_plan(Study(space, chosen, (ANY, SD), "sd"), out, "small", {})


def test_a_broken_model_is_told_before_anything_is_written(
    data: PreparedData, good: Path, broken: Path, tmp_path: Path
) -> None:
    space = SearchSpace((choice("model.encoder", "pre"),), {"model.encoder": "pre"})
    out = tmp_path / "studies"
    for folder, words in ((broken, "is a Git LFS pointer"), (good, None)):
        plan = plan_of(out, space, settings(folder, {"pre": hub(folder)}, "pre", data.path))
        if words is None:
            assert set(load_data([plan])) == {"small"}
            continue
        with pytest.raises(UserError, match=f"^small: model.encoders.pre: .*{words}"):
            load_data([plan])
    assert not out.exists()


def test_a_broken_tokenizer_is_told_before_anything_is_written(
    data: PreparedData, good: Path, tmp_path: Path
) -> None:
    space = SearchSpace((choice("model.encoder", "conv"),), {"model.encoder": "conv"})
    chosen = settings(tmp_path / "nowhere", {"conv": {"kind": "conv"}}, "conv", data.path)
    with pytest.raises(UserError, match=r"data\.store\.name: there is no folder"):
        load_data([plan_of(tmp_path / "studies", space, chosen)])
    assert not (tmp_path / "studies").exists()


def test_all_encoders_that_a_trial_may_get_are_looked_at_and_no_others(
    data: PreparedData, good: Path, broken: Path
) -> None:
    encoders = {"a": hub(good), "b": hub(broken)}
    chosen = settings(good, encoders, "a", data.path)

    def check(space: SearchSpace) -> None:
        check_encoders_fit(candidates(space, chosen, "mine"), partial(expected_spec, data), "mine")

    fixed = SearchSpace((choice("train.batch_size", 8, 16),), {"train.batch_size": 8})
    check(fixed)  # b is never chosen
    searched = SearchSpace((choice("model.encoder", "a", "b"),), {"model.encoder": "a"})
    with pytest.raises(UserError, match=r"^mine: model\.encoders\.b: "):
        check(searched)
    names = SearchSpace(
        (choice("model.encoders.a.name", str(good), str(broken)),), {"model.encoders.a.name": str(good)}
    )
    with pytest.raises(UserError, match=r"^mine: model\.encoders\.a: .*broken"):
        check(names)


def test_a_worker_finds_relative_folders(
    data: PreparedData, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = settings("good", {"pre": {"kind": "hub", "name": "good", "pooling": "cls"}}, "pre", data.path)
    here = open_store(data, chosen.data.store, tmp_path / "stores")
    sent = located(chosen.model_dump(mode="json"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = Settings.model_validate(sent)
    there = open_store(data, again.data.store, tmp_path / "stores")
    assert there.path == here.path
    of_kind = dict(again.model.encoders["pre"])
    assert of_kind == {"kind": "hub", "name": str(good), "pooling": "cls"}
    encoder = build_encoder(of_kind.pop("kind"), of_kind, there.spec)
    assert encoder(**there.fetch(np.arange(2))).shape == (2, 16)


def test_names_of_the_hub_and_other_settings_stay_as_they_are(data: PreparedData) -> None:
    encoders = {"own": {"kind": "conv"}, "pre": {"kind": "hub", "name": "some/model"}}
    given = settings("some/tokenizer", encoders, "own", data.path).model_dump(mode="json")
    assert located(given) == given
    word = given | {"data": given["data"] | {"store": {"tokenizer": "word"}}}
    assert located(word) == word
