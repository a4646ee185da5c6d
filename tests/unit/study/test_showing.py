"""What is shown of a finished study outside its folder: page and words in MLflow, its winner in the registry."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from safetensors.numpy import save_file

from sdl_study.errors import UserError
from sdl_study.files import read_json, write_json
from sdl_study.record.answer import read_answer
from sdl_study.record.declaration import read_declaration
from sdl_study.record.files import StudyFiles
from sdl_study.record.finals import read_finals
from sdl_study.record.journal import read
from sdl_study.record.outcome import write_outcome
from sdl_study.study.plan import Plan
from sdl_study.study.publish import publish
from sdl_study.study.showing import check_register, show
from sdl_study.training.stages.scoring import ENCODER_FOLDER
from tests.integration.leaks import files_with
from tests.integration.tracked import runs_of
from tests.unit.study.tracked_study import opened, tracked

README = Path(__file__).parents[3] / "README.md"
FILTERS = re.findall(r"\| ``(.+?)`` \|", README.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """An answered study on open data."""
    return tracked(tmp_path_factory.mktemp("studies"))


def parent_of(plan: Plan) -> Run:
    (found,) = runs_of(plan, "study")
    return found


def test_page_and_answer_are_in_mlflow_and_links_are_printed(plan: Plan) -> None:
    lines = show(plan, None)
    assert [line.partition(": ")[0] for line in lines] == [
        "page", "MLflow, Runs", "MLflow, Leaderboard of trials", "MLflow, Parallel coordinates of trials"
    ]  # fmt: skip
    parent = parent_of(plan)
    client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
    assert "page.html" in {item.path for item in client.list_artifacts(parent.info.run_id)}
    note = parent.data.tags["mlflow.note.content"]
    for words in (
        "**Answer:** The setting chosen for sd is better",
        "| sd | ",
        "python -m sdl_study.run study small",
    ):
        assert words in note


def test_every_run_says_what_it_is_and_is_found(plan: Plan) -> None:
    trials = runs_of(plan, "trial")
    for run in trials:
        number = int(run.data.tags["sdl.trial"])
        assert run.data.tags["sdl.run"] == f"small/{number}"
        assert run.data.tags["mlflow.note.content"].startswith(
            f"**Trial {number} of small**: `{run.data.params['arm']}"
        )
        tau = float(run.data.params["loss.temperature"])
        assert 10 ** float(run.data.params["loss.temperature.log10"]) == pytest.approx(tau)
        assert 10 ** float(run.data.params["train.learning_rate.log10"]) == pytest.approx(
            float(run.data.params["train.learning_rate"])
        )
    assert len(trials) == len(read(plan.files.journal).all())
    (control,) = runs_of(plan, "control")
    assert "what the arms have to beat" in control.data.tags["mlflow.note.content"]


@pytest.mark.parametrize("recipe", FILTERS)
def test_the_filters_of_the_readme_find_runs(recipe: str, plan: Plan) -> None:
    own = {
        "demo_coco/12": "small/2", "FIRST 16 CHARACTERS OF THE FINGERPRINT": "f" * 16, "'0.0%'": "'0.%'",
        "0.9": "0.1", "'failed'": "'pruned'",
    }  # fmt: skip
    for word, here in own.items():
        recipe = recipe.replace(word, here)
    client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
    found = client.search_runs([parent_of(plan).info.experiment_id], recipe)
    assert found
    assert len(found) < len(runs_of(plan)) or "dataset" in recipe


def with_encoder(plan: Plan, home: Path) -> Path:
    """The best arm's final with an encoder that came from folders of this machine; its folder."""
    declaration = read_declaration(plan.files)
    assert declaration is not None
    best = next(f for f in read_finals(plan.files, declaration) if (f.name, f.slot.seed_number) == ("sd", 0))
    folder = best.slot.folder / "encoder"
    (folder / "chat").mkdir(parents=True)
    (folder / "chat" / "template.txt").write_text("{{ text }}")
    (home / "my_encoder.py").write_text("kind = 'mine'")
    write_json(folder / "encoder.json", {
        "kind": str(home / "my_encoder.py"), "spec": {"modality": "text"},
        "settings": {"name": str(home / "models" / "mine"), "more": [{"folder": f"~/{home.name}/two"}], "width": 3},
    })  # fmt: skip
    write_json(
        folder / "config.json",
        {"_name_or_path": str(home), "text": {"_name_or_path": str(home)}, "model_type": "bert"},
    )
    write_json(folder / "tokenizer_config.json", {"name_or_path": str(home), "pad_token": "/pad"})
    write_json(folder / "inputs.json", {"modality": "text", "max_length": 16, "max_chunks": 1})
    save_file({"weight": np.zeros(1)}, folder / "probe.safetensors")
    assert best.result is not None
    metrics = {**best.result.metrics, "dev/threshold": 0.25}
    write_outcome(best.slot.folder, replace(best.result, metrics=metrics))
    return folder


def published_now(plan: Plan, sent: list[tuple[Path, str]]) -> Path:
    """Publish as if the study ended now; where the parent's artifacts lie."""
    declaration = read_declaration(plan.files)
    assert declaration is not None
    answer, ended = read_answer(plan.files.answer), read_finals(plan.files, declaration)
    plan.files.answer.unlink()
    publish(answer, read(plan.files.journal).all(), ended, plan, opened(plan), sent)
    return plan.files.artifacts / "small" / parent_of(plan).info.run_id / "artifacts"


def test_what_is_sent_and_registered_names_no_folder_of_this_machine(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, study = with_encoder(plan, tmp_path), read_json(plan.files.study_json)
    study["settings"]["data"]["path"] = str(tmp_path / "prepared")
    study["arms"][0]["loss"] = f"{tmp_path / 'mine.py'}:Halving"
    monkeypatch.setattr(StudyFiles, "study_json", property(lambda files: files.folder / "own.json"))
    write_json(plan.files.study_json, study)
    sent = published_now(plan, [(encoder, ENCODER_FOLDER)])
    assert read_json(sent / "own.json")["arms"][0]["loss"] == "mine.py:Halving"
    assert read_json(sent / "encoder" / "encoder.json")["settings"] == {
        "name": "mine", "more": [{"folder": "two"}], "width": 3
    }  # fmt: skip
    assert read_json(sent / "encoder" / "tokenizer_config.json") == {"pad_token": "/pad"}
    assert (sent / "encoder" / "my_encoder.py").read_text() == "kind = 'mine'"
    assert (sent / "encoder" / "chat" / "template.txt").exists()
    monkeypatch.undo()
    for _ in range(2):
        assert (
            show(plan, None, "icd-encoder")[-1] == "MLflow, registry: sd of small is version 1 of icd-encoder"
        )
    needles = [str(tmp_path), f"~/{tmp_path.name}", str(plan.files.out), "/home/somebody"]
    assert files_with(needles, [plan.files.artifacts]) == {needle: set() for needle in needles}
    assert str(tmp_path) in (encoder / "encoder.json").read_text()  # the study's own files stay as they are


def test_the_winner_is_a_version_that_can_be_fetched(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(tracking_uri=plan.files.mlflow_uri)
    (version,) = client.search_model_versions("name = 'icd-encoder'")
    assert version.tags["sdl.declaration"] == read_answer(plan.files.answer).declaration
    assert "best arm on dev of study small" in str(version.description)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", plan.files.mlflow_uri)
    fetched = Path(download_artifacts(f"models:/icd-encoder/{version.version}"))
    assert read_json(fetched / "config.json") == {"model_type": "bert", "text": {}}
    assert "loader_module: sdl_exported" in (fetched / "MLmodel").read_text()


def test_weights_of_restricted_data_are_not_registered(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--register: notes is on restricted data"):
        check_register("mine", {"demo": "open", "notes": "restricted"})
    with pytest.raises(ValueError, match="open data"):
        show(tracked(tmp_path, "restricted"), None, "mine")


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "it's", "/tmp"])
def test_a_name_that_mlflow_would_not_take_is_refused_before_anything_runs(name: str) -> None:
    with pytest.raises(UserError, match="--register"):
        check_register(name, {"demo": "open"})


def test_of_restricted_data_small_counts_and_paths_stay_in_the_folder(tmp_path: Path) -> None:
    """Its descriptions, tags, views, data inputs and artifacts are searched; integration looks for patients' words."""
    plan = tracked(tmp_path, "restricted", documents=6)
    show(plan, None)
    for run in runs_of(plan):
        assert run.inputs is not None
        (data,) = run.inputs.dataset_inputs
        assert '"test": "<10 examples of <10 groups"' in str(data.dataset.profile)
        assert "somebody" not in str(data.dataset.source)
    assert " 3 groups" not in parent_of(plan).data.tags["mlflow.note.content"]
    page = tmp_path / "mlartifacts" / "small" / parent_of(plan).info.run_id / "artifacts" / "page.html"
    assert page.stat().st_mode & 0o077 == 0
    needles = ["/home/somebody", "880000", "880003", str(plan.files.folder)]
    found = files_with(needles, [tmp_path / "mlartifacts"])
    assert found == {needle: set() for needle in needles}
