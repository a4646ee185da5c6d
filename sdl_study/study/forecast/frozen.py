"""What a study computes once of an encoder: the outputs of its frozen part, from which all trainings go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sdl_study.config import Settings
from sdl_study.data.sizes import DataSizes
from sdl_study.models import Encoder
from sdl_study.study.forecast.inputs import Reading
from sdl_study.study.forecast.trace import Batch, Work, forward_work
from sdl_study.training.frozen import GIB, HELD_SHARE


@dataclass(frozen=True)
class FrozenPart:
    """The frozen part of an encoder that runs by itself.

    Attributes:
        work: operations of one of the longest rows.
        nbytes: of the outputs of all examples.
        kept: whether they are within ``train.frozen_outputs_gib``; otherwise every step computes them anew.
    """

    work: Work
    nbytes: float
    kept: bool

    def held(self, memory: float, trials_per_gpu: int) -> float:
        """Bytes of a GPU's memory that a job fills with the outputs."""
        return self.nbytes if self.kept and self.nbytes <= HELD_SHARE * memory / trials_per_gpu else 0.0


def frozen_part(
    encoder: Encoder, reading: Reading, settings: Settings, sizes: DataSizes
) -> FrozenPart | None:
    """What is computed once of an encoder; None where nothing is frozen, or inputs change from step to step.

    Args:
        encoder: of shapes alone.
        reading: its inputs.
        settings: of the study.
        sizes: of its data.
    """
    train = settings.train
    if train.augment != "none" or not encoder.can_split:
        return None

    def run(batch: Batch) -> torch.Tensor:
        (output,) = encoder.lower(**batch).values()
        return output

    work = forward_work(reading.batch, run, train.precision)
    (name, output), *_ = encoder.lower(**reading.batch(1)).items()
    numbers = output.numel() * sizes.examples
    if reading.texts and name == "hidden":
        numbers *= sum(reading.texts) / len(reading.texts) / reading.longest
    nbytes = numbers * (2 if train.precision == "bf16" else 4)
    return FrozenPart(work, nbytes, nbytes <= train.frozen_outputs_gib * GIB)


def outputs_of(encoder: Encoder, inputs: Mapping[str, torch.Tensor]) -> Batch:
    """What takes the place of a batch's inputs where the outputs of the frozen part are kept."""
    outputs = {name: values.float() for name, values in encoder.lower(**inputs).items()}
    if "hidden" in outputs and "attention_mask" in inputs:
        outputs["attention_mask"] = inputs["attention_mask"]
    return outputs
