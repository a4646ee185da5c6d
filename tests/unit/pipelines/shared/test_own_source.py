"""A source of one's own is one file outside the project: the one that pipelines/README.md shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sdl_study.data.prepared import PreparedData
from tests.unit.pipelines.raw import documents, write_csv

ROOT = Path(__file__).parents[4]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The README's file in a folder of its own, with reviews beside it."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / "pipelines" / "README.md").read_text(), re.DOTALL)
    assert len(code) == 1
    file = tmp_path / "elsewhere" / "my_source.py"
    rows = [(f"review {i}", f"author {i // 2}", ("food;service", "food", "")[i % 3]) for i in range(80)]
    write_csv(file.with_name("reviews.csv"), ["review", "author", "topics"], rows)
    file.write_text(code[0])
    return file


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python as after the installation: the project can be imported from any folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_it_prepares_what_check_data_accepts(source: Path) -> None:
    done = python(source.parent, "my_source.py", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("out: 80 examples (train / dev / test ")
    checked = python(source.parent, "-m", "sdl_study.run", "check", "data", "out")
    assert checked.returncode == 0, checked.stderr
    assert "reviews: text, restricted" in checked.stdout
    assert "groups in two splits: dev-test 0, train-dev 0, train-test 0 (none)" in checked.stdout
    found = documents(source.parent / "out")
    assert found["3"][1:] == ({"food", "service"}, "review 3")
    assert found["5"][1:] == (set(), "review 5")
    again = python(source.parent, "my_source.py", "out")
    assert "already prepared, nothing to do" in again.stdout


def test_its_mistakes_are_one_line(source: Path) -> None:
    done = python(source.parent, "my_source.py")
    assert done.returncode == 2
    assert done.stderr == "error: give the folder of the prepared data set: python my_source.py OUT\n"
    source.with_name("reviews.csv").write_text("review,author,topics\nmarker,a,food\n")
    done = python(source.parent, "my_source.py", "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: out: split ")
    assert done.stderr.count("\n") == 1
    source.with_name("reviews.csv").write_text("review,author\nmarker,a\n")
    done = python(source.parent, "my_source.py", "out")
    assert done.returncode == 1
    assert "internal error: ColumnNotFoundError" in done.stderr
    assert "my_source.py" in done.stderr
    assert "marker" not in done.stderr
    assert sorted(path.name for path in source.parent.iterdir()) == ["my_source.py", "reviews.csv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("number[topic] for", "number[topic] + 9 for"),
            "field labels of the index: 9 where there are 2 labels",
        ),
        (('"source_group": table', '"group": table'), "the index has no column 'source_group'"),
        (("label_names=codes", "label_names=[]"), "2 label_codes and 0 label_names"),
        (
            ("hash_split(author) for", '"marker" for'),
            "field split of the index: unknown; use train, dev or test",
        ),
        (('text="review"', 'texts="review"'), "the inputs have no column 'text'"),
        (("[table.select", "[table.head(9).select"), "9 inputs for an index of 80 rows"),
    ],
)
def test_what_does_not_fit_together_is_one_line(source: Path, change: tuple[str, str], message: str) -> None:
    code = source.read_text()
    assert change[0] in code
    source.write_text(code.replace(*change))
    done = python(source.parent, "my_source.py", "out")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: reviews: {message}")
    assert "marker" not in done.stderr
    assert not (source.parent / "out").exists()


def test_the_project_is_not_changed_by_it(source: Path) -> None:
    python(source.parent, "my_source.py", "out")
    assert PreparedData.load(source.parent / "out").manifest.source == {"pipeline": "my_source"}
    assert pl.read_parquet(source.parent / "out" / "id_map.parquet").height == 80
