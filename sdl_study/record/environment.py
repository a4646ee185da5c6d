"""environment.json: with what a study ran, one entry for every different environment that worked on it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sdl_study.files import read_json, write_json
from sdl_study.record.files import StudyFiles

_PACKAGES = (
    "torch", "transformers", "tokenizers", "numpy", "scipy", "scikit-learn", "polars", "optuna", "ray", "mlflow",
)  # fmt: skip


def environment(
    code_version: str,
    study: str,
    overrides: Mapping[str, Any],
    numerics: Mapping[str, Any] | None = None,
    base: str | None = None,
    warm_start: str | None = None,
) -> dict[str, Any]:
    """The driver's environment, and how the study was named and changed on the command line; no path of the machine.

    Args:
        code_version: of this package.
        study: what stands after ``study`` on the command line.
        overrides: settings by dotted path; the folder of the data is left out, of other paths all but their end.
        numerics: what the last digits depend on beside.
        base: what stands after ``--base``, where the study was made over another one.
        warm_start: the study that stands after ``--warm-start``.
    """
    given = {path: _without_folder(value) for path, value in overrides.items() if path != "data.path"}
    return {
        "code_version": code_version,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        **(numerics or {}),
        "packages": {name: found for name in _PACKAGES if (found := _installed(name)) is not None},
        "study": study,
        **({} if base is None else {"base": base}),
        **({} if warm_start is None else {"warm_start": warm_start}),
        "overrides": json.loads(json.dumps(given, default=str)),
        "own_data": overrides.get("data.path") is not None,
    }


def _without_folder(value: Any) -> Any:
    """A setting's value, absolute paths as ``.../NAME``: the page is read elsewhere."""
    if isinstance(value, Mapping):
        return {name: _without_folder(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folder(part) for part in value]
    is_path = isinstance(value, Path) or (isinstance(value, str) and value.startswith(("/", "~")))
    return f".../{Path(value).name}" if is_path else value


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def note_environment(files: StudyFiles, now: Mapping[str, Any]) -> None:
    """Add an environment to the study's, unless it is the last one's."""
    before = read_environments(files)
    if not before or before[-1] != now:
        write_json(files.environment, [*before, dict(now)])


def read_environments(files: StudyFiles) -> Sequence[Mapping[str, Any]]:
    """Every environment of a study, in order; none of a study from before they were written.

    Raises:
        UserError: the file is damaged.
    """
    return read_json(files.environment) if files.environment.exists() else []
