"""run a trial or final again from its record, and say whether its numbers agree"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl_study.commands import add_out
from sdl_study.errors import UserError

if TYPE_CHECKING:
    from sdl_study.record.chosen import Chosen
    from sdl_study.report.agreement import Compared
    from sdl_study.study.again import Again, Way
    from sdl_study.study.plan import Plan

GPU_TOLERANCE = 0.01
"""Of a GPU sums come in another order each time, and a training carries the difference on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``reproduce STUDY/RUN``."""
    parser.add_argument(
        "reference", metavar="STUDY/RUN",
        help="STUDY/12 (trial 12), STUDY/sd-0 (arm sd's final of the first seed), STUDY/finetune/sd-0, or STUDY (the "
        "best arm's final)",
    )  # fmt: skip
    add_out(parser)
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the prepared data set, where it was moved since"
    )
    parser.add_argument(
        "--workers", type=int, help="processes that share it (default: as many as in the study)"
    )
    parser.add_argument(
        "--address", help="Ray cluster to join for more than one worker, e.g. auto (default: start one here)"
    )
    parser.add_argument(
        "--tolerance", type=float,
        help=f"how far two numbers may lie apart (default: 0, that is bitwise; {GPU_TOLERANCE} on a GPU)",
    )  # fmt: skip
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="leave encoder and probe there, for export --from DIR"
    )
    parser.add_argument(
        "--allow-restricted", action="store_true",
        help="with --keep: let weights of restricted data out of the study's folder",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Run it in a folder of its own and compare; the study's folder is only read.

    Raises:
        Disagreement: a number differs.
    """
    from sdl_study.commands.export import check_terms
    from sdl_study.record.chosen import choose
    from sdl_study.study.again import Way, check_can_run, run_again, working_folder
    from sdl_study.study.recorded import recorded_plan

    chosen = choose(given.out, given.reference)
    check_can_run(chosen, given.keep is not None)
    if given.keep is not None:
        check_terms(chosen.record.restricted, given.allow_restricted, chosen.reference)
        if given.keep.exists():
            raise UserError(f"--keep {given.keep}: is there already; name a folder that is not")
    if given.workers is not None and given.workers < 1:
        raise UserError(f"--workers {given.workers}: needs at least 1")
    plan = recorded_plan(chosen.record)
    workers = given.workers or _workers(chosen)
    way = Way(_data(chosen, given.data), workers, given.keep is not None, given.address)
    parent = chosen.record.files.out if given.keep is None else given.keep.resolve().parent
    with working_folder(parent) as folder:
        again = run_again(plan, chosen, way, folder)
        _tell(chosen, again, _changes(chosen, plan, way), given)


def _data(chosen: Chosen, given: Path | None) -> Path:
    """Folder of the prepared data set: the one that is named, or where the study's own lies."""
    if given is not None:
        return given.resolve()
    if chosen.record.dataset is None:
        raise UserError(
            f"{chosen.reference}: the prepared data set is not where the study read it; name its folder with --data DIR"
        )
    return chosen.record.dataset.folder.resolve()


def _workers(chosen: Chosen) -> int:
    """How many processes shared it: a final says it, a trial had as many as its setting or the study's finals.

    Raises:
        UserError: neither tells.
    """
    from sdl_study.record.outcome import Result

    if chosen.trial is None:
        return chosen.result.workers
    wanted: int | None = chosen.record.identity["settings"]["train"]["workers"]
    of_finals = [
        f.outcome.workers
        for f in chosen.record.finals
        if isinstance(f.outcome, Result) and f.outcome.best_epoch
    ]
    found = wanted or next(iter(of_finals), None)
    if found is None:
        raise UserError(
            f"{chosen.reference}: how many workers shared a batch is not written down before there are finals; name it "
            "with --workers"
        )
    return found


def _changes(chosen: Chosen, plan: Plan, way: Way) -> list[str]:
    """What is another one than when the study ran: environment, data, code of the user's own."""
    from sdl_study.data.prepared import PreparedData
    from sdl_study.record.environment import environment
    from sdl_study.report.agreement import environment_changes
    from sdl_study.study.numerics import numerics
    from sdl_study.study.recorded import changed_code
    from sdl_study.version import code_version

    record = chosen.record
    before: Mapping[str, Any] = record.environments[-1] if record.environments else {}
    found = environment_changes(before, environment(code_version(), "", {}, numerics()))
    was, now = record.identity.get("data_fingerprint"), PreparedData.load(way.data).manifest.fingerprint
    if was != now:
        found.append(f"data: fingerprint {str(was)[:16]}… → {now[:16]}…")
    if chosen.trial is None and chosen.result.workers != way.workers:
        found.append(f"workers {chosen.result.workers} → {way.workers}")
    if len(record.environments) > 1:
        found.append(f"the study ran in {len(record.environments)} environments; this is against the last")
    return found + [f"{name}: its code was changed" for name in changed_code(plan, record)]


def _tell(chosen: Chosen, again: Again, changes: list[str], given: argparse.Namespace) -> None:
    """Print the numbers and what differs around them; keep what is to be kept.

    Raises:
        Disagreement: a number differs.
    """
    from sdl_study.ending import Disagreement
    from sdl_study.report.agreement import agreement_text

    tolerance = _tolerance(chosen) if given.tolerance is None else given.tolerance
    found = _compared(chosen, again, tolerance)
    print(agreement_text(found))
    print("\n".join(["", "environment: the same" if not changes else "environment, then and now:"]))
    print("\n".join(f"  {line}" for line in changes))
    apart = [row for row in found if not row.agrees]
    agrees = not apart and again.failure is None
    if given.keep is not None and again.result is not None:
        _keep(chosen, again, agrees, given.keep.resolve())
    how = "bitwise" if tolerance == 0 else f"within {tolerance:g}"
    if agrees:
        print(f"{chosen.reference}: agrees {how}, {len(found)} numbers")
        return
    if again.failure is not None:
        raise Disagreement(f"{chosen.reference}: does not agree: it failed: {again.failure}")
    raise Disagreement(
        f"{chosen.reference}: does not agree {how}: {len(apart)} of {len(found)} numbers differ, first {apart[0].what}"
    )


def _compared(chosen: Chosen, again: Again, tolerance: float) -> list[Compared]:
    from sdl_study.report.agreement import compare_final, compare_trial

    if chosen.trial is not None:
        return compare_trial(chosen, again.epochs, tolerance)
    return [] if again.result is None else compare_final(chosen, again.result, again.folder, tolerance)


def _tolerance(chosen: Chosen) -> float:
    """0 where record and this machine compute on CPUs."""
    import torch

    from sdl_study.record.outcome import Result

    outcomes = [final.outcome for final in chosen.record.finals]
    on_gpu = any(isinstance(outcome, Result) and outcome.device == "cuda" for outcome in outcomes)
    return GPU_TOLERANCE if on_gpu or torch.cuda.is_available() else 0.0


def _keep(chosen: Chosen, again: Again, agrees: bool, folder: Path) -> None:
    """Rename the working folder, with a note of what it is."""
    from sdl_study.data.disk import publish
    from sdl_study.files import write_json
    from sdl_study.report.export.source import KEPT_FILE
    from sdl_study.study.again import kept

    kept(again)
    write_json(again.folder / KEPT_FILE, {"of": chosen.reference, "agrees": agrees})
    publish(again.folder, folder)
    print(f"kept: {folder}")
