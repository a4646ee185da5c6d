"""Functions called on every rank of a world of real gloo processes, with their answers by rank."""

from __future__ import annotations

import io
import queue
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sdl_study import distributed

START_SECONDS = 300.0
"""What spawned processes may take to start, imports included."""


class ProcessFailure(RuntimeError):
    """A process of a spawned world raised, died or did not answer in time."""


def run_processes(
    function: Callable[..., Any],
    world_size: int,
    *arguments: Any,
    timeout_seconds: float = 120.0,
    initialize: bool = True,
) -> list[Any]:
    """Call ``function(*arguments)`` on ``world_size`` spawned gloo ranks and return their results by rank.

    Args:
        function: importable from its module (spawned processes import it); sees torch.distributed initialised.
            It returns tensors, numbers, strings, and lists, tuples or dicts of them.
        timeout_seconds: from the moment all processes have started; those that remain are then ended.
        initialize: False leaves torch.distributed uninitialised.

    Raises:
        ProcessFailure: a rank raised (the message holds its traceback), died, or did not finish in time.
    """
    context = torch.multiprocessing.get_context("spawn")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting") if initialize else None
        processes = [
            context.Process(
                target=_run_rank,
                args=(function, arguments, r, world_size, meeting, results),
                daemon=True,
            )
            for r in range(world_size)
        ]
        for process in processes:
            process.start()
        try:
            return _collect(processes, results, timeout_seconds)
        finally:
            for process in processes:
                process.join(timeout=0.5)
                if process.is_alive():
                    process.kill()
                process.join()


def _run_rank(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    rank: int,
    world_size: int,
    meeting: str | None,
    results: Any,
) -> None:
    """What a spawned process does: join the world, call, answer."""
    torch.set_num_threads(1)
    results.put((rank, None, None))  # started: imports may take long on a busy machine
    try:
        if meeting is None:
            answer = function(*arguments)
        else:
            with distributed.process_group("gloo", rank, world_size, meeting, START_SECONDS):
                answer = function(*arguments)
    except Exception as error:  # noqa: BLE001  told to the parent, which raises
        results.put((rank, f"{type(error).__name__}: {error}", traceback.format_exc()))
    else:
        packed = io.BytesIO()
        torch.save(answer, packed)  # bytes outlive this process, shared tensors would not
        results.put((rank, None, packed.getvalue()))


def _collect(processes: Sequence[Any], results: Any, timeout_seconds: float) -> list[Any]:
    """Wait for every rank's answer."""
    answers: dict[int, Any] = {}
    started = 0
    deadline = time.monotonic() + START_SECONDS
    while len(answers) < len(processes):
        try:
            rank, error, answer = results.get(timeout=0.2)
        except queue.Empty:
            _name_dead(processes, answers)
            if time.monotonic() > deadline:
                waiting = [r for r in range(len(processes)) if r not in answers]
                raise ProcessFailure(
                    f"ranks {waiting} did not finish in time (a collective hangs?)"
                ) from None
            continue
        if error is not None:
            _name_dead(processes, answers)  # whose peers may raise before anyone looks
            raise ProcessFailure(f"rank {rank}: {error}\n{answer}")
        if answer is None:
            started += 1
            if started == len(processes):
                deadline = time.monotonic() + timeout_seconds
        else:
            answers[rank] = torch.load(io.BytesIO(answer), weights_only=True)
    return [answers[r] for r in range(len(processes))]


def _name_dead(processes: Sequence[Any], answers: dict[int, Any]) -> None:
    """Raise ProcessFailure where a rank is gone without an answer."""
    for rank, process in enumerate(processes):
        if process.exitcode not in (None, 0) and rank not in answers:
            raise ProcessFailure(f"rank {rank} died with exit code {process.exitcode}") from None
