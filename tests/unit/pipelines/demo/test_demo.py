"""The demo's data: deterministic, through the real pipelines, with what makes them worth a study."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines import demo
from pipelines.demo import pipeline
from pipelines.demo.notes import generate, read_extract, write_mimic
from pipelines.demo.scenes import CATEGORY_IDS, write_coco
from pipelines.shared.splits import hash_split
from sdl_study.data.check import relation_mix
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError


def silent(line: str) -> None:
    """No progress in tests."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    for name in demo.NAMES:
        demo.prepare(name, out, silent)
    return out


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_counts_terms_and_layout(home: Path) -> None:
    notes = PreparedData.load(home / "prepared" / "demo_mimic").manifest
    scenes = PreparedData.load(home / "prepared" / "demo_coco").manifest
    assert (notes.terms, notes.modality, notes.num_labels) == ("open", "text", 40)
    assert (scenes.terms, scenes.modality, scenes.num_labels) == ("open", "image", 10)
    assert notes.source["pipeline"] == "mimic"
    assert scenes.source["pipeline"] == "coco"
    assert notes.source["synthetic"]
    assert notes.counts["train"].examples > 7_500
    assert scenes.counts["train"].examples > 3_800
    assert min(c.examples for m in (notes, scenes) for c in m.counts.values()) > 400
    for path in (
        "mimic-iv/hosp/diagnoses_icd.csv.gz",
        "mimic-iv/hosp/procedures_icd.csv.gz",
        "mimic-iv/note/discharge.csv.gz",
        "coco/annotations/instances_train.json",
        "coco/annotations/instances_val.json",
    ):
        assert (home / "raw" / path).is_file()


def test_patients_and_digits_do_not_leak(home: Path) -> None:
    for name in demo.NAMES:
        leakage = PreparedData.load(home / "prepared" / name).manifest.leakage
        assert not any(leakage["groups_in_two_splits"].values())
        assert not any(leakage["duplicate_inputs"].values())


def test_fingerprints_are_these_on_every_machine(home: Path) -> None:
    found = {name: PreparedData.load(home / "prepared" / name).manifest.fingerprint for name in demo.NAMES}
    assert found == {
        "demo_mimic": "fa6740eeb2e5e5b4899dc4c57b238783396307cf376f3070294672249d60a0d5",
        "demo_coco": "88a10a0c76282a493eb7e50480d1357ba3950c775a0baba7020488c17fa7bff6",
    }


def test_all_five_relations_occur(home: Path) -> None:
    for name in demo.NAMES:
        mix = relation_mix(PreparedData.load(home / "prepared" / name).labels("train"), 64)
        assert min(mix.values()) > 0.002
        assert 1 - mix["disjoint"] < 0.4  # denser ones collapse


def test_a_second_call_finds_everything_done(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    lines: list[str] = []
    for name in demo.NAMES:
        assert demo.prepare(name, home, lines.append) == home / "prepared" / name
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before
    assert all("already prepared" in line for line in lines)


def test_another_version_of_the_generator_makes_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "write_mimic", lambda folder, seed: write_mimic(folder, seed, 300))
    demo.prepare("demo_mimic", tmp_path, silent)
    first = PreparedData.load(tmp_path / "prepared" / "demo_mimic").manifest
    monkeypatch.setattr(pipeline, "GENERATOR_VERSION", pipeline.GENERATOR_VERSION + 1)
    monkeypatch.setattr(pipeline, "SEED", 1)
    demo.prepare("demo_mimic", tmp_path, silent)
    second = PreparedData.load(tmp_path / "prepared" / "demo_mimic").manifest
    assert second.source["generator_version"] == first.source["generator_version"] + 1
    assert second.fingerprint != first.fingerprint


def test_folders_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "raw" / "coco").mkdir(parents=True)
    with pytest.raises(UserError, match=r"was not made by pipelines\.demo"):
        demo.prepare("demo_coco", tmp_path, silent)
    with pytest.raises(
        UserError, match="unknown demo data set 'demo_eurlex'; choose demo_mimic or demo_coco"
    ):
        demo.prepare("demo_eurlex", tmp_path, silent)


def test_raw_files_are_the_same_bytes_on_every_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_mimic(tmp_path / name / "m", seed=3, admissions=200)
        write_coco(tmp_path / name / "c", seed=3, train_and_dev=40, test=10)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    write_mimic(tmp_path / "other", seed=4, admissions=200)
    assert files(tmp_path / "other") != files(tmp_path / "a" / "m")


def test_the_extract_has_real_codes_with_four_terms_each() -> None:
    extract = read_extract()
    assert len({code.code for code in extract}) == len(extract) == 40
    terms = [term for code in extract for term in (*code.terms, code.held_out)]
    assert len(set(terms)) == len(terms)
    assert len({code.cluster for code in extract}) == 8


def test_held_out_synonyms_stand_outside_train_alone() -> None:
    held_out = [code.held_out for code in read_extract()]
    seen = {"train": 0, "other": 0}
    for stay in generate(seed=0, admissions=3_000):
        split = "train" if hash_split(str(stay.subject_id)) == "train" else "other"
        padded = " ".join(stay.notes).replace("\n", " ")
        seen[split] += any(f" {term} " in f" {padded} " for term in held_out)
    assert seen["train"] == 0
    assert seen["other"] > 100


def test_notes_name_what_is_not_coded_and_leave_out_what_is() -> None:
    extract = read_extract()
    denied = unnamed = several = 0
    for stay in generate(seed=0, admissions=2_000):
        padded = f" {' '.join(stay.notes)} "
        named = {c.code for c in extract if any(f" {term} " in padded for term in (*c.terms, c.held_out))}
        coded = {c.code for c in stay.codes}
        denied += bool(named - coded)
        unnamed += bool(coded - named)
        several += len(stay.notes) > 1
    assert denied > 500
    assert unnamed > 100
    assert several > 20


def test_scenes_have_one_to_three_digits_and_true_boxes(tmp_path: Path) -> None:
    from PIL import Image

    write_coco(tmp_path, seed=0, train_and_dev=60, test=5)
    record = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
    by_image: dict[int, int] = {}
    for annotation in record["annotations"]:
        by_image[annotation["image_id"]] = by_image.get(annotation["image_id"], 0) + 1
        assert annotation["category_id"] in CATEGORY_IDS
        x, y, width, height = annotation["bbox"]
        file = tmp_path / "train" / record["images"][annotation["image_id"] - 1]["file_name"]
        pixels = np.asarray(Image.open(file)).max(axis=2).astype(int)
        assert pixels[y : y + height, x : x + width].max() > 140  # ink is brighter than any background
    assert set(by_image.values()) == {1, 2, 3}
    assert len(by_image) == 60


def test_id_map_of_the_demo_leads_back_to_the_raw_ids(home: Path) -> None:
    folder = home / "prepared" / "demo_mimic"
    ids = pl.read_parquet(folder / "id_map.parquet")
    raw = pl.read_csv(home / "raw" / "mimic-iv" / "note" / "discharge.csv.gz", columns=["hadm_id"])
    assert ids["source_id"].cast(pl.Int64).to_list() == raw["hadm_id"].unique(maintain_order=True).to_list()
