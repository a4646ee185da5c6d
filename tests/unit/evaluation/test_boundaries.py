"""What evaluation may import when it is imported, and who may name the file of the test labels."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import sdl_study

SOURCE = Path(sdl_study.__file__).parent


def test_importing_evaluation_loads_nothing_heavy() -> None:
    files = (SOURCE / "evaluation").rglob("[a-z]*.py")
    modules = sorted(".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in files)
    modules.remove("sdl_study.evaluation.metrics.label_sums")  # compiled loops: resampling alone imports them
    assert "sdl_study.evaluation.metrics.weighted_labels" in modules
    heavy = ("torch", "transformers", "sklearn", "scipy", "numba", "ray", "mlflow")
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def strings(path: Path) -> set[str]:
    """String constants of a file that are not docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [
        node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    }


def names(path: Path) -> set[str]:
    """Names that a file uses or imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return used | {node.name for node in ast.walk(tree) if isinstance(node, ast.alias)}


def test_one_file_reads_and_one_writes_the_test_labels() -> None:
    files = {str(path.relative_to(SOURCE)): path for path in SOURCE.rglob("*.py")}
    spelt = {name for name, path in files.items() if any("test_labels.parquet" in s for s in strings(path))}
    # Where its size is looked at, where a report sees that it is not there, and where the reader is told to put it.
    assert spelt == {"data/prepared.py", "record/dataset.py", "report/cards/answer.py"}
    assert (
        files["record/dataset.py"].read_text().count("_TEST_LABELS") == 2
    )  # its name, and whether it is a file
    named = {name for name, path in files.items() if "TEST_LABELS_FILE" in names(path)}
    assert named == {"data/prepared.py", "evaluation/final.py", "data/writer.py"}
