"""How many GPUs a trial of a study is given where the user names no number: the fewest on which it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdl_study.data.sizes import DataSizes
from sdl_study.errors import UserError
from sdl_study.study.forecast.devices import GIB, usable_memory
from sdl_study.study.forecast.encoders import encoder_forecasts, settings_of
from sdl_study.study.forecast.memory import fewest_workers

if TYPE_CHECKING:
    from sdl_study.data.prepared import PreparedData
    from sdl_study.study.plan import Plan


def fewest_gpus(plan: Plan, data: PreparedData, memory: float) -> int:
    """The fewest GPUs on which the global batch of every encoder of a study fits, in micro-batches where need be.

    So the others run other trials at the same time: more trials help a study more than faster ones.

    Args:
        plan: the study.
        data: its prepared data.
        memory: bytes of the smallest GPU.

    Raises:
        UserError: an encoder does not fit, or only with its weights cut among several.
    """
    train, most = settings_of(plan).train, 1
    for encoder in encoder_forecasts(plan, DataSizes.of(data.manifest), data):
        fit = fewest_workers(encoder.state, encoder.heaviest, train.batch_size, usable_memory(memory))
        if fit is None or (fit.sharded and train.parallel != "fsdp"):
            advice = (
                "a trial of one row is too large for 8 of them; freeze layers, or shorten the inputs"
                if fit is None
                else f"cut its weights among {fit.workers}: --set train.parallel=fsdp"
            )
            raise UserError(
                f"{plan.name}: model.encoders.{encoder.name} does not fit a GPU of {memory / GIB:.0f} GiB; {advice} "
                "(--workers N asks for N GPUs a trial whatever is forecast)"
            )
        most = max(most, fit.workers)
    return most
