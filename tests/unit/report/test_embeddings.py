"""The map of test embeddings: what it shows of whom, and when there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from sdl_study.errors import UserError
from sdl_study.evaluation.embeddings import (
    EMBEDDINGS_FILE,
    MOST_ROWS,
    read_embeddings,
    save_embeddings,
    some_places,
)
from sdl_study.record.reading import read_study
from sdl_study.record.relations import RELATIONS, relations_of
from sdl_study.report.cards import embeddings
from sdl_study.report.page.frames import StudyFrames
from sdl_study.study.plan import Plan
from tests.unit.report.studies import DOCUMENTS, answered, searched


def better(arm: str, seed: int) -> float:
    return 2.0 if arm == "sd" else 1.0


def card_of(plan: Plan) -> embeddings.Card:
    return embeddings.card(StudyFrames(read_study(plan.files)))


def test_points_stand_by_their_relation_to_one_anchor(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, better)
    card = card_of(plan)
    assert card.frame is not None
    assert card.frame.height == DOCUMENTS
    assert card.frame["relation"][0] == "anchor"
    assert card.frame["relation"].to_list().count("anchor") == 1
    assert card.frame["cosine"][0] == pytest.approx(1, abs=1e-6)
    assert card.frame["cosine"][1:].is_sorted(descending=True)
    assert set(card.frame["relation"]) >= set(RELATIONS) - {"equal"}
    assert card.note is not None
    assert "of sd, seed 0" in card.note
    assert card_of(plan).frame.equals(card.frame)  # type: ignore[union-attr]  # the same at every call


def test_embeddings_that_say_more_of_labels_lie_nearer(tmp_path: Path) -> None:
    """Those of the test are noise with a share of the labels, which similarity shows."""
    plan = searched(tmp_path)
    answered(plan, better)
    sentence = card_of(plan).sentence
    values = {
        part.split()[-2]: float(part.split()[-1].rstrip(".")) for part in sentence.split(": ")[1].split(", ")
    }
    assert values["disjoint"] < values["overlap"]


def test_without_embeddings_there_is_no_map(tmp_path: Path) -> None:
    plan = searched(tmp_path)
    answered(plan, better)
    for file in plan.files.folder.glob(f"finals/*/*/{EMBEDDINGS_FILE}"):
        file.unlink()
    card = card_of(plan)
    assert not card.applies
    assert "no final has left embeddings" in card.sentence


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / EMBEDDINGS_FILE).write_bytes(b"PK")
    with pytest.raises(UserError, match=r"test_embeddings\.npz: damaged .*the map is left out"):
        read_embeddings(tmp_path)


def test_the_anchor_has_some_of_every_relation() -> None:
    """{0, 1} has one in each; all others miss one at least."""
    sets = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    relations = relations_of(csr_array(sets))
    assert embeddings.anchor_of(relations) in (1, 2)


def test_as_many_rows_are_kept_as_a_figure_shows(tmp_path: Path) -> None:
    assert some_places(7, 0).tolist() == list(range(7))
    places = some_places(4 * MOST_ROWS, 3)
    assert places.size == np.unique(places).size == MOST_ROWS
    assert places.tolist() == some_places(4 * MOST_ROWS, 3).tolist()
    save_embeddings(tmp_path / EMBEDDINGS_FILE, places, np.ones((MOST_ROWS, 3)))
    found = read_embeddings(tmp_path)
    assert found is not None
    assert found[0].tolist() == places.tolist()
    assert pl.Series(found[1].ravel()).dtype == pl.Float32


def test_the_map_is_computed_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a study that runs, threads that wait for each other take ten times as long."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_info

    threads: list[int] = []

    def noted(_: TSNE, unit: np.ndarray) -> np.ndarray:
        threads.extend(pool["num_threads"] for pool in threadpool_info())
        return unit[:, :2]

    monkeypatch.setattr(TSNE, "fit_transform", noted)
    embeddings.flat(np.eye(8, dtype=np.float32))
    assert threads
    assert set(threads) == {1}


def test_what_all_inputs_share_makes_none_of_them_more_alike() -> None:
    """A pooled output behind a ReLU has a mean that brings every cosine to .99."""
    inputs = np.random.default_rng(0).normal(size=(50, 8))
    apart = cosines_of(inputs)
    assert np.allclose(cosines_of(inputs + 100), apart)
    assert apart.min() < -0.5


def cosines_of(inputs: np.ndarray) -> np.ndarray:
    unit = embeddings.centred(inputs)
    return unit @ unit.T


def test_inputs_that_are_all_alike_have_no_direction() -> None:
    assert np.array_equal(embeddings.centred(np.ones((3, 2))), np.zeros((3, 2)))
