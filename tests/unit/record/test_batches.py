"""The mix of relations in recorded batches, against the relations of the loss."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from sdl_study.losses.relations import RELATIONS as OF_THE_LOSS
from sdl_study.record.batches import RELATIONS, mix_of_batches
from sdl_study.record.files import StudyFiles

SETS = [[0], [0], [0, 1], [1, 2], [2], [], [0, 1, 2], [3]]


def record(files: StudyFiles, rank: int, lines: list[tuple[int, list[int]]], torn: str = "") -> None:
    folder = files.trial(3)
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({"pid": 1, "epoch": 1, "step": s, "rows": rows}) + "\n" for s, rows in lines)
    (folder / f"batches-{rank}.jsonl").write_text(text + torn)


def test_pairs_are_counted_as_the_loss_does(tmp_path: Path) -> None:
    pl.DataFrame({"id": range(8), "labels": SETS}).write_parquet(tmp_path / "examples.parquet")
    files = StudyFiles(tmp_path, "s")
    record(files, 0, [(0, [0, 1, 2]), (1, [4])], torn='{"pid": 1, "ep')
    record(files, 1, [(0, [3, 6, 5]), (1, [7])])
    found = mix_of_batches(files, [1, 3], tmp_path)
    assert found is not None
    assert RELATIONS == OF_THE_LOSS
    expected: dict[str, int] = {str(name): 0 for name in RELATIONS}
    for rows in ([0, 1, 2, 3, 5, 6], [4, 7]):
        for anchor in rows:
            for candidate in rows:
                if anchor != candidate:
                    expected[relation(set(SETS[anchor]), set(SETS[candidate]))] += 1
    assert dict(found.select("relation", "pairs").iter_rows()) == expected
    assert found["share"].sum() == 1.0
    assert found["batches"].to_list() == [2] * 5


def relation(anchor: set[int], candidate: set[int]) -> str:
    """R1…R5 of the paper."""
    if not anchor & candidate:
        return "disjoint"
    if anchor == candidate:
        return "equal"
    return "subset" if candidate < anchor else "superset" if anchor < candidate else "overlap"


def test_without_recorded_batches_there_is_none(tmp_path: Path) -> None:
    assert mix_of_batches(StudyFiles(tmp_path, "s"), [0, 1], tmp_path) is None
