"""Where everything of a study lies, and how files are written there: whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdl_study.errors import UserError


@dataclass(frozen=True)
class StudyFiles:
    """Paths of a study below ``out``."""

    out: Path
    name: str

    @property
    def folder(self) -> Path:
        """The study's own folder."""
        return self.out / self.name

    @property
    def data(self) -> Path:
        """What pipelines prepare for the studies of this folder."""
        return self.out / "data"

    @property
    def stores(self) -> Path:
        """Token and image stores."""
        return self.out / "data" / "stores"

    @property
    def mlflow_uri(self) -> str:
        """The local tracking database."""
        return f"sqlite:///{self.out / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """Artifacts of the local tracking database."""
        return self.out / "mlartifacts"

    @property
    def journal(self) -> Path:
        """The Optuna journal."""
        return self.folder / "journal.log"

    @property
    def study_json(self) -> Path:
        """Resolved settings and identity."""
        return self.folder / "study.json"

    @property
    def declaration(self) -> Path:
        """What was declared before the finals."""
        return self.folder / "declaration.json"

    @property
    def answer(self) -> Path:
        """The study's answer."""
        return self.folder / "answer.json"

    @property
    def leaderboard(self) -> Path:
        """All trials and finals as a table."""
        return self.folder / "leaderboard.csv"

    def trial(self, number: int) -> Path:
        """Folder of a trial."""
        return self.folder / "trials" / f"{number:04d}"


@contextmanager
def locked(files: StudyFiles) -> Iterator[None]:
    """Hold the study's folder against a second driver.

    Raises:
        UserError: another process holds it.
    """
    files.folder.mkdir(parents=True, exist_ok=True)
    with (files.folder / ".lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{files.folder}: another process runs this study; wait for it or use --name"
            ) from None
        yield


def read_json(path: Path) -> Any:
    """What `write_json` wrote.

    Raises:
        UserError: the file is not JSON any more.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(
            f"{path}: damaged: not JSON; put it back from a copy, or start again under --name"
        ) from None


def write_json(path: Path, content: Any) -> None:
    """Write JSON to a temporary name, flush it to the disk, and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as handle:
        json.dump(content, handle, indent=2, sort_keys=True, ensure_ascii=False)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
