"""Every path of a study, and the lock that one driver holds on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdl_study.stages import PROBE, Stage

# A job's checkpoints, in its folder: the state to go on from, and the weights of its best epoch.
LAST, BEST = "last.pt", "best.pt"
# What a final leaves of its model, in its folder: the encoder with what makes its inputs, and beside it in the same
# folder the probe on it or the head that it was fine-tuned with, and the projection head that it was pretrained with.
ENCODER_FOLDER = "encoder"
PROBE_FILE, HEAD_FILE, PROJECTION_FILE = "probe.safetensors", "head.safetensors", "projection.safetensors"


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

    def fetched_data(self, fingerprint: str) -> Path:
        """A prepared data set that was brought from an object storage."""
        return self.data / "fetched" / fingerprint[:16]

    @property
    def engine(self) -> Path:
        """What Ray Train and Tune write while a command runs; gone at its end."""
        return self.out / ".engine"

    @property
    def mlflow_uri(self) -> str:
        """The local tracking database."""
        return f"sqlite:///{self.out / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """Artifacts of the local tracking database."""
        return self.out / "mlartifacts"

    @property
    def lock(self) -> Path:
        """Held by the driver while it runs."""
        return self.folder / ".lock"

    @property
    def storage(self) -> Path:
        """Which states on an object storage are this folder's; there only where it is brought to one."""
        return self.folder / ".storage.json"

    @property
    def ledger(self) -> Path:
        """Its own lines of the ledger of test data, which lies with the data; there only with a storage."""
        return self.folder / "test_ledger.jsonl"

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

    def superseded_declaration(self, sha: str) -> Path:
        """A declaration that another one replaced."""
        return self.folder / f"declaration-superseded-{sha[:12]}.json"

    @property
    def answer(self) -> Path:
        """The study's answer."""
        return self.folder / "answer.json"

    @property
    def leaderboard(self) -> Path:
        """All trials as a table."""
        return self.folder / "leaderboard.csv"

    @property
    def environment(self) -> Path:
        """With what it ran."""
        return self.folder / "environment.json"

    @property
    def page(self) -> Path:
        """The study page: one file that opens from disk, without a network."""
        return self.folder / "page.html"

    def trial(self, number: int) -> Path:
        """Folder of a trial."""
        return self.folder / "trials" / f"{number:04d}"

    def repeat(self, number: int, seed_number: int) -> Path:
        """Folder of a repeat of a trial on a selection seed."""
        return self.folder / "selection" / f"{number:04d}-{seed_number}"

    def final(self, declaration: str, name: str, seed_number: int, stage: Stage = PROBE) -> Path:
        """Folder of a final or control under a declaration (its SHA-256); those of other stages lie one deeper."""
        folder = self.folder / "finals" / declaration[:12]
        return (folder if stage == PROBE else folder / stage) / f"{name}-{seed_number}"
