"""A job: everything a worker group needs to run one trial, final or control, as plain data; and who runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeAlias

from sdl_study.workers.events import Epoch

Kind = Literal["trial", "final", "control"]


@dataclass(frozen=True)
class Job:
    """One piece of work for a worker group.

    Attributes:
        key: unique name in the whole command, for example ``demo_coco/trial/12``.
        kind: a trial trains and may be stopped; a final trains to the end and scores the test inputs; a control
            has the last stage alone and scores the test inputs.
        folder: where its checkpoints and results lie, whatever group or attempt runs it.
        data: folder of the prepared data set.
        stores: folder of the token and image stores.
        settings: the study's settings with the job's parameters laid over, as plain values.
        arm: the arm, as plain data.
        seed: seed of initialisation, data order and dropout.
        number: the trial's number in the study; -1 for finals and controls.
        resumed: whether an earlier attempt may have left a checkpoint; such a job goes first.
        stage: the last stage of a final or control, after which it scores: probe or finetune.
        start: folder of the final whose encoder is fine-tuned; empty where there is none.
        fold: of train and dev, which is dev (``data.folds.Fold``, as plain numbers); None leaves them as the
            data have them.
    """

    key: str
    kind: Kind
    folder: str
    data: str
    stores: str
    settings: dict[str, Any]
    arm: dict[str, Any]
    seed: int
    number: int = -1
    resumed: bool = False
    stage: str = "probe"
    start: str = ""
    fold: tuple[int, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The job as plain values, for the way through Ray; ``Job(**values)`` is the inverse."""
        return asdict(self)


Report: TypeAlias = Callable[[Epoch], bool]
"""Hands over an epoch, on every rank alike; returns whether the job goes on."""


class RunJob(Protocol):
    """Runs one job on one rank of a group, from its checkpoint where it has one, and returns what it came to.

    It is handed in as a reference, ``module:function``, and called with the job, the report, the group of ranks
    that carries small objects, and this rank's device.

    Raises:
        JobStopped: the answer to a report was to stop.
        SettingFailure: on every rank at the same step.
    """

    def __call__(self, job: Job, report: Report, channel: Any, device: Any) -> dict[str, Any]: ...


class JobStopped(Exception):
    """The answer to a report was to stop."""


class SettingFailure(Exception):
    """The setting itself is at fault: the same one with the same seed would fail again.

    Every rank raises it at the same step, so that the group is in order and takes the next job.
    """
