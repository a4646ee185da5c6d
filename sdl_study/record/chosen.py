"""One trial or final of a study by the name that the command line gives it: ``STUDY/12``, ``STUDY/sd-0``, ``STUDY``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdl_study.errors import UserError
from sdl_study.record.files import StudyFiles
from sdl_study.record.finals import FinalSlot
from sdl_study.record.outcome import Failure, Result
from sdl_study.record.reading import FinalRecord, StudyRecord, read_study
from sdl_study.record.trials import TrialRecord
from sdl_study.space import ParameterValue
from sdl_study.stages import FINETUNE, PROBE, Stage


@dataclass(frozen=True)
class Chosen:
    """A trial or a final, one of the two, of a study."""

    record: StudyRecord
    trial: TrialRecord | None = None
    final: FinalRecord | None = None

    @property
    def name(self) -> str:
        """Within its study: ``12``, ``sd-0`` or ``finetune/sd-0``."""
        return str(self.trial.number) if self.trial is not None else final_name(self.slot)

    @property
    def reference(self) -> str:
        """As the command line names it."""
        return f"{self.record.files.name}/{self.name}"

    @property
    def slot(self) -> FinalSlot:
        """The final's place."""
        assert self.final is not None
        return self.final.slot

    @property
    def arm(self) -> str:
        """Whose setting it has."""
        return self.trial.arm if self.trial is not None else self.slot.arm

    @property
    def parameters(self) -> Mapping[str, ParameterValue]:
        """What was searched."""
        return self.trial.parameters if self.trial is not None else self.slot.parameters

    @property
    def stage(self) -> Stage:
        """After which last stage it scores."""
        return PROBE if self.trial is not None else self.slot.stage

    @property
    def result(self) -> Result:
        """What the final came to.

        Raises:
            UserError: it has not ended, or it failed.
        """
        assert self.final is not None
        outcome = self.final.outcome
        if isinstance(outcome, Result):
            return outcome
        why = f"failed ({outcome.where})" if isinstance(outcome, Failure) else "has not ended yet"
        raise UserError(f"{self.reference}: this final {why}")


def final_name(slot: FinalSlot) -> str:
    """A final's name within its study."""
    name = f"{slot.name}-{slot.seed_number}"
    return name if slot.stage == PROBE else f"{slot.stage}/{name}"


def choose(out: Path, reference: str) -> Chosen:
    """The trial or final that a reference names.

    Args:
        out: folder of studies.
        reference: ``STUDY/12`` is trial 12, ``STUDY/sd-0`` arm sd's final of the first seed, ``STUDY/finetune/sd-0``
            the one after fine-tuning; ``STUDY`` alone is the final of the first seed of the arm that is best on dev.

    Raises:
        UserError: no such study, trial or final.
    """
    study, _, name = reference.strip("/").partition("/")
    record = read_study(StudyFiles(out.resolve(), study))
    if name.isdecimal():
        trial = next((trial for trial in record.trials if trial.number == int(name)), None)
        if trial is None:
            raise UserError(f"{reference}: {study} has no trial of this number; {_known(record)}")
        return Chosen(record, trial=trial)
    wanted = name or _best(record)
    found = next((final for final in record.finals if final_name(final.slot) == wanted), None)
    if found is None:
        raise UserError(f"{reference}: {study} has no such final; {_known(record)}")
    return Chosen(record, final=found)


def _best(record: StudyRecord) -> str | None:
    """The final of the first seed of the arm that is best on dev, after the stage that the verdict is about."""
    declaration = record.declaration
    if declaration is None:
        return None
    before = "" if declaration.primary_stage == PROBE else f"{FINETUNE}/"
    return f"{before}{declaration.best_arm_on_dev}-0"


def _known(record: StudyRecord) -> str:
    """What there is to choose from, in words."""
    trials = f"its trials are 0 to {len(record.trials) - 1}" if record.trials else "it has no trial yet"
    names = [final_name(final.slot) for final in record.finals]
    if not names:
        return f"{trials}, and it has no finals yet"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{trials}, its finals {shown}"
