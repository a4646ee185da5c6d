"""A folder is the folder of that name: what is a pattern to some reader is a letter here."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdl_study.data.prepared import PreparedData
from sdl_study.evaluation import final as final_module
from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.ledger import append_line, read_ledger
from sdl_study.evaluation.predictions import metrics_from_predictions, read_header, read_predictions
from sdl_study.evaluation.verdict import compare
from tests.unit.evaluation.small_final import FINAL, TEST, TRUTH, score, scores, truth

NAMES = (
    "res[1]", "res[!a]", "res]", "res*", "**", "r?s", "{res,1}", "~", "~root", "%41", "#1", "a b", " ", "$HOME",
    "n\u00f6te", "\u7d50\u679c", "x=1", "a,b", "a&b;c", "a'b\"c", "a\\b", "-o", "file:",
)  # fmt: skip
EXPECTED = multilabel_metrics(scores(), truth(), threshold=0.4)


def neighbours(folder: Path) -> None:
    """What a pattern would find in the folder's place."""
    for name in ("res1", "resa", "res", "1"):
        (folder / name / "out").mkdir(parents=True, exist_ok=True)
        (folder / name / "out" / "predictions.parquet").write_bytes(b"another's")
        (folder / name / "test_labels.parquet").write_bytes(b"another's")


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_predictions_lie_in_any_folder(prepared: Path, tmp_path: Path, name: str) -> None:
    neighbours(tmp_path)
    folder = tmp_path / name
    folder.mkdir()
    assert score(prepared, folder) == EXPECTED
    path = folder / "out" / "predictions.parquet"
    assert score(prepared, folder) == metrics_from_predictions(path) == EXPECTED
    assert read_header(path).identity == read_predictions(path).identity == FINAL
    assert compare([path], [path], metric="map_document").values == ((EXPECTED["map_document"],) * 2,)
    assert [item.name for item in path.parent.iterdir()] == ["predictions.parquet"]
    assert len(read_ledger(prepared)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_relative_folder_is_no_other(
    prepared: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``~`` alone is a pattern at the beginning of a path only."""
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    assert score(prepared, Path(name)) == EXPECTED
    assert metrics_from_predictions(Path(name) / "out" / "predictions.parquet") == EXPECTED


@pytest.mark.parametrize("name", NAMES)
def test_test_labels_and_ledger_lie_in_any_folder(prepared: Path, tmp_path: Path, name: str) -> None:
    neighbours(tmp_path)
    data = PreparedData.load(prepared.rename(tmp_path / name))
    targets = final_module._open_test_labels(data, TEST)
    assert targets.columns.tolist() == [label for labels in TRUTH for label in labels]
    append_line(data.path, FINAL, fingerprint="f", declaration="d", code_version="1")
    assert [line.identity for line in read_ledger(data.path)] == [FINAL]
