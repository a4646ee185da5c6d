"""Whether a cluster's machines are fit for a study: asked by ``check cluster``, and before a first trial on one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from sdl_study.errors import UserError
from sdl_study.report.status import size
from sdl_study.study.tracking_server import check_tracking
from sdl_study.workers.group import quiet_environment
from sdl_study.workers.probe.answers import Answer
from sdl_study.workers.probe.bandwidth import measure
from sdl_study.workers.probe.machines import ask_machines
from sdl_study.workers.ray_session import RaySession


def check_cluster(
    address: str | None, out: Path, data: Path | None, tracking_uri: str | None, say: Callable[[str], None]
) -> int:
    """Ask every machine, then let one worker group over all of them exchange a tensor.

    The tracking server is asked by the driver, which alone talks to it.

    Args:
        address: of a running cluster; None starts one on this machine.
        out: folder of studies.
        data: folder of a prepared data set; None asks for none.
        tracking_uri: MLflow server; None asks for none.
        say: prints a line.

    Returns:
        How many findings there were.

    Raises:
        UserError: no cluster answers, or the driver itself cannot write in ``out``.
        MachineFailure: Ray does not start.
    """
    if tracking_uri is not None:
        check_tracking(tracking_uri)
    os.environ.update(quiet_environment())
    session = RaySession(address, lambda: None)
    session.start()
    try:
        asked = ask_machines(out, data)
        for line in (*_shown(asked.answers), *asked.findings):
            say(line)
        if asked.findings:
            return len(asked.findings)  # ranks that differ tell nothing of the network
        say(_measured(out))
        return 0
    finally:
        session.leave(in_order=True)


def _shown(answers: Sequence[Answer]) -> list[str]:
    """What every machine is, a line each."""
    return [
        f"{answer.name}: {', '.join(f'{name} {version}' for name, version in answer.versions.items())}, "
        f"code {answer.code[:12]}, GPUs {answer.gpus}, {size(answer.free)} free"
        for answer in answers
    ]


def _measured(out: Path) -> str:
    """How fast ranks on all machines add up a tensor; Ray Train keeps its files where all machines see them."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".check-") as folder:
        found = measure(Path(folder))
    where = f"{found.ranks} ranks on {found.machines} machines, {found.backend}"
    if found.ranks == 1:
        return f"all-reduce: {where}: nothing to exchange"
    return f"all-reduce: {where}: {found.seconds * 1000:.1f} ms for 32 MiB, {size(found.per_second)}/s on each link"


def check_machines(name: str, out: Path, data: Path, storage: str | None = None) -> None:
    """Before a study's first trial on a cluster that was joined: storage, data and code of its machines.

    Args:
        name: of the study.
        out: folder of studies.
        data: folder of the prepared data set.
        storage: of the study, which is no substitute for a folder that its machines share.

    Raises:
        UserError: a line for every machine that is not fit.
    """
    findings = ask_machines(out, data).findings
    if findings:
        if storage is not None:
            findings = [
                *findings,
                "--storage keeps a study for another head; workers read and write --out, shared",
            ]
        lines = "\n".join(f"  {line}" for line in findings)
        raise UserError(f"{name}: the cluster is not ready (check cluster says more):\n{lines}")
