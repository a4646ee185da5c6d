"""Asking every machine of the cluster that this process is connected to."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sdl_study.errors import UserError
from sdl_study.files import write_text
from sdl_study.workers.probe.answers import WORD_FILE, Answer, Question, answer, findings

_ANSWER_SECONDS = 60.0
Look = Callable[[Question, str, str], Answer]


@dataclass(frozen=True)
class Asked:
    """What the machines said.

    Attributes:
        here: the driver's own answer.
        answers: those of the machines that gave one.
        findings: what is wrong, a line each.
    """

    here: Answer
    answers: Sequence[Answer]
    findings: Sequence[str]


def ask_machines(out: Path, data: Path | None, look: Look = answer) -> Asked:
    """Let every machine write and read in the folder of studies, read the data's manifest, and name its versions.

    Args:
        out: folder of studies, as the driver has it; it is made, and taken away again, where it is not there.
        data: folder of a prepared data set; None asks for none.
        look: what answers on a machine.

    Raises:
        UserError: the driver itself cannot write or read there.
    """
    word = secrets.token_hex(16)
    with _meeting(out) as folder:
        question = Question(str(folder), word, None if data is None else str(data))
        try:
            write_text(folder / WORD_FILE, word)
        except OSError as error:
            raise UserError(f"{out}: the driver cannot write there ({error.strerror})") from None
        here = answer(question, "driver-too", "here")
        for place, trouble in here.troubles.items():
            raise UserError(f"{place}: the driver cannot use it ({trouble})")
        answers, silent = _answers(question, look)
        return Asked(here, answers, [*silent, *findings(question, here, answers)])


@contextmanager
def _meeting(out: Path) -> Iterator[Path]:
    """A folder of this check alone in the folder of studies."""
    missing = [path for path in (out, *out.parents) if not path.exists()]
    folder = out / f".check-{secrets.token_hex(4)}"
    try:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"{out}: the driver cannot write there ({error.strerror})") from None
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in missing:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _answers(question: Question, look: Look) -> tuple[list[Answer], list[str]]:
    """The answers, and a line for every machine that gave none."""
    ask: Any = ray.remote(num_cpus=0, max_retries=0)(look)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    asked = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            question, node["NodeID"], node["NodeManagerAddress"]
        )
        for node in nodes
    ]
    ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_SECONDS)
    answers: list[Answer] = []
    silent: list[str] = []
    for node, reference in zip(nodes, asked, strict=True):
        host = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            found: Answer = ray.get(reference, timeout=0)
            answers.append(replace(found, gpus=int(node["Resources"].get("GPU", 0))))
        except GetTimeoutError:
            silent.append(
                f"{host}: gives no answer within {_ANSWER_SECONDS:.0f} s; is a file system of it stuck?"
            )
        except RayError as error:
            cause = getattr(error, "cause", None) or error
            silent.append(f"{host}: cannot run this package ({type(cause).__name__}); is it installed there?")
    return answers, silent
