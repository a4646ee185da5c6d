"""Test labels: opened once per final, after the ledger's line, and by nothing else."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sdl_study.errors import UserError
from sdl_study.evaluation import final as final_module
from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.final import require_test_labels
from sdl_study.evaluation.ledger import LEDGER_FILE, read_ledger
from sdl_study.evaluation.predictions import metrics_from_predictions, read_predictions
from tests.unit.evaluation.small_final import FINAL, TEST, TRUTH, score, scores, truth, write_scores


def test_scores_metrics_predictions_and_ledger(prepared: Path, tmp_path: Path) -> None:
    found = score(prepared, tmp_path)
    assert found == multilabel_metrics(scores(), truth(), threshold=0.4)
    path = tmp_path / "out" / "predictions.parquet"
    assert metrics_from_predictions(path) == found
    table = pl.read_parquet(path)
    assert table.schema == {
        "id": pl.Int64, "group": pl.Int64, "scores": pl.List(pl.Float32), "labels": pl.List(pl.Int32),
    }  # fmt: skip
    assert table["labels"].to_list() == TRUTH
    np.testing.assert_array_equal(np.stack(table["scores"].to_list()), scores())
    read = read_predictions(path)
    assert read.identity == FINAL
    assert read.groups.tolist() == [row // 2 for row in TEST]
    (line,) = read_ledger(prepared)
    fingerprint = json.loads((prepared / "manifest.json").read_text())["fingerprint"]
    assert (line.identity, line.declaration, line.code_version) == (FINAL, "d" * 64, "1")
    assert line.fingerprint == read.fingerprint == fingerprint
    assert line.time.endswith("+00:00")


def test_a_finished_final_is_never_scored_again(prepared: Path, tmp_path: Path) -> None:
    first = score(prepared, tmp_path)
    (prepared / "test_labels.parquet").unlink()
    (tmp_path / "scores.npz").write_bytes(b"")
    assert score(prepared, tmp_path) == first
    assert len(read_ledger(prepared)) == 1


def test_another_declaration_is_scored_anew_and_the_old_one_kept(prepared: Path, tmp_path: Path) -> None:
    score(prepared, tmp_path)
    score(prepared, tmp_path, declaration_sha="e" * 64)
    assert [line.declaration[0] for line in read_ledger(prepared)] == ["d", "e"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"predictions-superseded-{'d' * 12}.parquet", "predictions.parquet"]
    assert read_predictions(tmp_path / "out" / "predictions.parquet").declaration == "e" * 64


def test_the_line_is_on_the_disk_before_the_labels_are_opened(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines_when_opened: list[int] = []
    original = pl.read_parquet

    def spy(source: Any, *args: Any, **kwargs: Any) -> pl.DataFrame:
        if Path(source.name).name == "test_labels.parquet":
            lines_when_opened.append(len(read_ledger(prepared)))
        return original(source, *args, **kwargs)

    monkeypatch.setattr(pl, "read_parquet", spy)
    score(prepared, tmp_path)
    assert lines_when_opened == [1]


def test_labels_stay_closed_where_the_line_cannot_be_kept_elsewhere(prepared: Path, tmp_path: Path) -> None:
    lines = list[int]()

    def away() -> None:
        lines.append(len(read_ledger(prepared)))
        raise KeyboardInterrupt

    labels = prepared / "test_labels.parquet"
    labels.write_bytes(b"0" * labels.stat().st_size)  # opened, it would be told
    with pytest.raises(KeyboardInterrupt):
        score(prepared, tmp_path, opening=away)
    assert lines == [1]
    assert not (tmp_path / "out" / "predictions.parquet").exists()


def test_a_crash_after_the_opening_stays_in_the_ledger(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(final_module, "write_predictions", crash)
        with pytest.raises(KeyboardInterrupt):
            score(prepared, tmp_path)
    assert not (tmp_path / "out" / "predictions.parquet").exists()
    score(prepared, tmp_path)
    assert len(read_ledger(prepared)) == 2


def test_predictions_that_cannot_be_written_leave_nothing(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: pl.DataFrame, file: Any, **__: Any) -> None:
        file.write(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(OSError, match="No space left"):
            score(prepared, tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
    assert score(prepared, tmp_path) == multilabel_metrics(scores(), truth(), threshold=0.4)


def test_predictions_and_ledger_are_on_the_disk_with_their_folders(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and folders in the order in which they are flushed: first the line, then what it allows."""
    flushed: list[str] = []

    def spy(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        flushed.append("predictions" if name.startswith(".predictions.parquet") else name)

    monkeypatch.setattr(os, "fsync", spy)
    score(prepared, tmp_path)
    assert flushed == [LEDGER_FILE, "prepared", "predictions", "out"]


def refuse(prepared: Path, tmp_path: Path, words: str, **changes: Any) -> None:
    with pytest.raises(UserError, match=words):
        score(prepared, tmp_path, **changes)
    assert not (prepared / LEDGER_FILE).is_file() or read_ledger(prepared) == []
    assert not (tmp_path / "out" / "predictions.parquet").exists()


def test_missing_test_labels_are_named_and_nothing_is_written(prepared: Path, tmp_path: Path) -> None:
    (prepared / "test_labels.parquet").unlink()
    refuse(prepared, tmp_path, r"test_labels\.parquet: missing")
    with pytest.raises(UserError, match=r"test_labels\.parquet: missing"):
        require_test_labels(prepared)


def test_test_labels_that_were_cut_off_cost_no_opening(prepared: Path, tmp_path: Path) -> None:
    os.truncate(prepared / "test_labels.parquet", 100)
    refuse(
        prepared, tmp_path, r"test_labels\.parquet: damaged: 100 bytes where the manifest has \d+; prepare"
    )


def test_without_a_ledger_the_labels_stay_closed(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("the labels were opened")

    monkeypatch.setattr(final_module, "_open_test_labels", never)
    (prepared / LEDGER_FILE).mkdir()
    refuse(prepared, tmp_path, r"test_ledger\.jsonl: the ledger cannot be written")


BAD_SCORES: list[tuple[Any, Any, str]] = [
    (TEST[:-1], np.zeros((TEST.size - 1, 4)), "7 scored rows are not the 8 test inputs"),
    (np.append(TEST[:-1], 0), None, "are not the 8 test inputs"),
    (np.append(TEST[:-1], TEST[0]), None, "are not the 8 test inputs"),
    (TEST, np.zeros((TEST.size, 5)), r"scores are \(8, 5\), expected \(8, 4\)"),
    (TEST, np.full((TEST.size, 4), np.nan), "not all probabilities"),
    (TEST, np.full((TEST.size, 4), 1.5), "not all probabilities"),
]


@pytest.mark.parametrize(("rows", "values", "words"), BAD_SCORES)
def test_wrong_scores_cost_no_opening(
    prepared: Path, tmp_path: Path, rows: Any, values: Any, words: str
) -> None:
    write_scores(tmp_path / "scores.npz", rows, values)
    refuse(prepared, tmp_path, words)


def test_unreadable_scores_and_folders_cost_no_opening(prepared: Path, tmp_path: Path) -> None:
    refuse(prepared, tmp_path, "no readable scores", scores_path=tmp_path / "none.npz")
    whole = write_scores(tmp_path / "bad.npz").read_bytes()
    for content in (
        b"",
        b"not an archive",
        whole[:100],
        whole[: len(whole) - 10],
        whole.replace(b"rows", b"lines"),
    ):
        (tmp_path / "bad.npz").write_bytes(content)
        refuse(prepared, tmp_path, "no readable scores", scores_path=tmp_path / "bad.npz")
    with (tmp_path / "bad.npz").open("wb") as file:
        np.save(file, scores())
    refuse(prepared, tmp_path, "no readable scores", scores_path=tmp_path / "bad.npz")
    (tmp_path / "file").touch()
    refuse(prepared, tmp_path, "cannot be made", out_dir=tmp_path / "file" / "out")


@pytest.mark.parametrize("threshold", [float("nan"), np.full(3, 0.5), np.array([0.1, 0.2, np.nan, 0.4])])
def test_a_wrong_threshold_costs_no_opening(prepared: Path, tmp_path: Path, threshold: Any) -> None:
    with pytest.raises(ValueError, match="threshold"):
        score(prepared, tmp_path, threshold=threshold)
    assert not (prepared / LEDGER_FILE).exists()


def test_parts_in_any_order_are_one_set_of_scores(prepared: Path, tmp_path: Path) -> None:
    order = np.array([5, 0, 7, 2, 1, 3, 6, 4])
    parts = [
        write_scores(tmp_path / f"{name}.npz", TEST[part], scores()[part])
        for name, part in (("a", order[:3]), ("b", order[3:]))
    ]
    assert score(prepared, tmp_path, scores_path=parts) == multilabel_metrics(
        scores(), truth(), threshold=0.4
    )


def test_per_label_thresholds_survive_the_file(prepared: Path, tmp_path: Path) -> None:
    limits = np.array([0.1, 0.3, 0.5, 0.7])
    found = score(prepared, tmp_path, threshold=limits)
    assert found == multilabel_metrics(scores(), truth(), threshold=limits)
    assert metrics_from_predictions(tmp_path / "out" / "predictions.parquet") == found


def test_restricted_predictions_are_private(prepared: Path, tmp_path: Path) -> None:
    manifest = prepared / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"terms": "open"', '"terms": "restricted"'))
    score(prepared, tmp_path)
    mode = (tmp_path / "out" / "predictions.parquet").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


LABELS = pl.List(pl.Int32)


def put_test_labels(prepared: Path, table: pl.DataFrame, **options: Any) -> None:
    """Another file of test labels, of the size that the manifest has."""
    file, manifest = prepared / "test_labels.parquet", prepared / "manifest.json"
    table.write_parquet(file, **options)
    record = json.loads(manifest.read_text())
    record["file_bytes"][file.name] = file.stat().st_size
    manifest.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "labels", [TRUTH[::-1], [TRUTH[0][::-1], *TRUTH[1:]], [[9], *TRUTH[1:]], [None, *TRUTH[1:]]]
)
def test_other_labels_than_those_prepared_are_refused(prepared: Path, tmp_path: Path, labels: Any) -> None:
    table = pl.DataFrame({"id": TEST, "labels": pl.Series(labels, dtype=LABELS)})
    put_test_labels(prepared, table)
    with pytest.raises(UserError, match=r"test_labels\.parquet: differs from the manifest; prepare the data"):
        score(prepared, tmp_path)
    assert len(read_ledger(prepared)) == 1
    assert not (tmp_path / "out" / "predictions.parquet").exists()


def test_the_same_labels_in_another_file_are_the_same(prepared: Path, tmp_path: Path) -> None:
    table = pl.DataFrame({"id": TEST, "labels": pl.Series(TRUTH, dtype=LABELS)})
    put_test_labels(prepared, table.reverse(), compression="uncompressed")
    assert score(prepared, tmp_path) == multilabel_metrics(scores(), truth(), threshold=0.4)


def test_other_inputs_in_the_file_of_the_labels_are_named(prepared: Path, tmp_path: Path) -> None:
    table = pl.DataFrame({"id": TEST + 1, "labels": pl.Series(TRUTH, dtype=LABELS)})
    put_test_labels(prepared, table)
    with pytest.raises(UserError, match="does not hold the labels of these test inputs"):
        score(prepared, tmp_path)


def test_damaged_predictions_are_named(prepared: Path, tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    with pytest.raises(UserError, match="no predictions here"):
        read_predictions(path)
    pl.DataFrame({"id": [1]}).write_parquet(path)
    with pytest.raises(UserError, match="not the predictions of a final"):
        read_predictions(path)
    score(prepared, tmp_path)
    whole = (tmp_path / "out" / "predictions.parquet").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged predictions"):
        read_predictions(path)
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["predictions.parquet"]
