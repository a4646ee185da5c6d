"""The storages of a command's studies: opened before the first of them starts, left when the last has ended."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol

from sdl_study.data.prepared import PreparedData
from sdl_study.ending import MachineFailure
from sdl_study.record.identity import read_identity
from sdl_study.record.trials import TrialRecord
from sdl_study.storage.study import StudyStorage
from sdl_study.study.plan import Plan
from sdl_study.study.progress import Lines
from sdl_study.study.signals import Interruptions


class Storage(Protocol):
    """What the driver of a study tells its storage (an ``Observer`` of the search)."""

    def started(self, record: TrialRecord) -> None: ...
    def epoch(self, record: TrialRecord, epoch: int) -> None: ...
    def ended(self, record: TrialRecord) -> None: ...

    def opening(self) -> None:
        """Test labels are about to be opened, as the ledger says."""


class FolderAlone:
    """The storage of a study that has none beside its folder."""

    def started(self, record: TrialRecord) -> None:
        """Nothing is to be done."""

    def epoch(self, record: TrialRecord, epoch: int) -> None:
        """Nothing is to be done."""

    def ended(self, record: TrialRecord) -> None:
        """Nothing is to be done."""

    def opening(self) -> None:
        """Nothing is to be done."""


FOLDER_ALONE = FolderAlone()


class Storages:
    """The storages of all studies of a command.

    Args:
        stack: they are left at its end.
        signals: ends the command when another driver has taken one of its studies.
    """

    def __init__(self, stack: ExitStack, signals: Interruptions) -> None:
        self._stack, self._signals = stack, signals
        self._open: dict[str, StudyStorage] = {}

    def opened(self, plan: Plan) -> Plan:
        """A plan with its storage, if it has one, and its study here.

        Raises:
            UserError: the storage cannot be used, or another driver has the study.
            MachineFailure: the storage went away.
        """
        plan = _as_recorded(plan)
        if plan.settings.storage is None:
            return plan
        say = Lines(plan.name).say
        storage = StudyStorage(plan.files, plan.settings.storage, say, self._signals.interrupt)
        storage.open()
        self._open[plan.name] = storage
        self._stack.callback(self._leave, plan.name)
        data = plan.settings.data
        found = storage.data_folder(data.pipeline, data.path)
        if found is None:
            return plan
        say(f"prepared data: {found}")
        return replace(plan, data=found)

    def start(self, plan: Plan, data: PreparedData) -> Storage:
        """The storage of a study that starts now."""
        storage = self._open.get(plan.name)
        if storage is None:
            return FOLDER_ALONE
        storage.start(data)
        return storage

    def finish(self, plan: Plan) -> None:
        """A study came to its end: its storage has all of it.

        Raises:
            MachineFailure: it has not.
        """
        storage = self._open.pop(plan.name, None)
        if storage is not None:
            storage.close(in_order=True)

    def _leave(self, name: str) -> None:
        storage = self._open.pop(name, None)
        if storage is not None:
            storage.close(in_order=False)

    def ending(self, error: BaseException) -> BaseException:
        """What really ended the command: that another driver has a study shows as an interruption."""
        for name, storage in self._open.items():
            if storage.lease.lost and not self._signals.by_signal:
                return MachineFailure(
                    f"{name}: another process has taken the study at {storage.place.url}, for this one was not heard "
                    "there for too long; this one ends"
                )
        return error


def _as_recorded(plan: Plan) -> Plan:
    """A study keeps the storage that it has, unless it is given another one, or None."""
    if plan.settings.storage is not None or "storage" in plan.overrides or not plan.files.study_json.exists():
        return plan
    known = read_identity(plan.files.study_json)["settings"]["storage"]
    return replace(plan, settings=plan.settings.model_copy(update={"storage": known}))
