"""run or resume studies (the default)"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl_study.commands import add_out
from sdl_study.errors import UserError
from sdl_study.own_modules import OwnStudy, load_study

if TYPE_CHECKING:
    from sdl_study.study.plan import Plan

DEMOS = ("demo_mimic", "demo_coco")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``study [NAME ...]`` and what may differ from one run of a study to the next; new knobs are settings."""
    parser.add_argument(
        "names", nargs="*", metavar="STUDY",
        help=f"names in search_spaces, files (./my_space.py) or modules; default {' '.join(DEMOS)}",
    )  # fmt: skip
    add_out(parser)
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="prepared data set to use: the setting data.path (check data DIR looks at it)",
    )
    parser.add_argument(
        "--base", metavar="STUDY",
        help="the study over which another one is made (study ablation --base demo_coco): its name, file or module, or "
        "the folder of a finished one",
    )  # fmt: skip
    parser.add_argument(
        "--warm-start", metavar="STUDY",
        help="begin every arm, after its published setting, with the best settings on dev that an earlier study found "
        "for it: its name in --out, or its folder",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="print what the study needs (memory, GPU hours, disk), computed from its encoders' sizes; write nothing",
    )  # fmt: skip
    parser.add_argument("--name", help="another name for the study, to start it anew with other settings")
    parser.add_argument("--trials", type=int, help="trials per arm; a larger number extends a study")
    parser.add_argument(
        "--hours", type=float,
        help="end the search after so many hours of it, over all commands: no new trial is asked, and selection and "
        "finals follow; more hours extend a study",
    )  # fmt: skip
    parser.add_argument("--gpu-hours", type=float, help="the same by the hours of GPUs that trials take")
    parser.add_argument(
        "--workers", type=int, help="workers of a group (default: one per GPU, or min(2, CPUs))"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
        help="fix a setting, e.g. train.epochs=2 or loss.temperature=0.1 (which is then not searched)",
    )  # fmt: skip
    parser.add_argument(
        "--address", help="Ray cluster to join, e.g. auto (default: start one on this machine)"
    )
    parser.add_argument(
        "--storage", metavar="URL",
        help="keep the study at s3://bucket/prefix too, and fetch it from there where it is not in --out: the setting "
        "storage",
    )  # fmt: skip
    parser.add_argument("--tracking-uri", help="MLflow server (default: a SQLite database in --out)")
    parser.add_argument(
        "--register", metavar="NAME",
        help="make the winner a version of this model in MLflow's registry; of open data alone",
    )  # fmt: skip
    parser.add_argument(
        "--allow-record-artifacts", action="store_true",
        help="put predictions, tokenizer and weights of restricted data into MLflow too; tagged on the run",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Check all studies, then run one after another on one engine."""
    found, plans = _planned(given)
    if given.dry_run:
        _print_forecasts(found, plans)
        return
    from sdl_study.report.text import answer_text
    from sdl_study.study.session import execute
    from sdl_study.study.showing import show
    from sdl_study.study.tracking_server import how_to_look

    answers = execute(plans, given.address, given.tracking_uri, given.allow_record_artifacts, given.register)
    for answer in answers:
        print(f"\n{answer_text(answer)}")
    for plan in plans:
        print("\n".join(("", *show(plan, given.tracking_uri, given.register))))
    look = how_to_look(given.tracking_uri, plans[0].files.mlflow_uri)
    print(f"\nTrials, parameters and metrics: {look}")


def _planned(given: argparse.Namespace) -> tuple[list[OwnStudy], list[Plan]]:
    """The studies that are named, and their plans, checked."""
    names = given.names or list(DEMOS)
    options = {
        "--name": given.name, "--data": given.data, "--base": given.base, "--register": given.register,
        "--warm-start": given.warm_start,
    }  # fmt: skip
    for option, value in options.items():
        if value is not None and len(names) > 1:
            raise UserError(f"{option}: give it with one study")
    from sdl_study.study.bases import find_base
    from sdl_study.study.checks import check_name
    from sdl_study.study.plan import make_plan
    from sdl_study.study.warm_start import with_warm_start

    base = None if given.base is None else find_base(given.base, given.out)
    found = [load_study(name, base) for name in names]
    overrides = _overrides(given, found[0])
    for reference, own in zip(names, found, strict=True):
        if given.name is None:
            check_name(own.name, f"study {reference}: its module's name")
    joins = given.address is not None
    plans = []
    for own in found:
        over = None if own.base is None else (own.reference, own.base)
        name = own.name if given.name is None else given.name
        plan = make_plan(own.study, given.out, name, overrides, joins, own.module, over)
        plans.append(with_warm_start(plan, given.warm_start))
    return found, plans


def _overrides(given: argparse.Namespace, first: OwnStudy) -> dict[str, Any]:
    """Settings by dotted path, of ``--set`` and of the options that stand for one."""
    overrides = parse_overrides(given.overrides)
    if given.data is not None:
        _refuse_pipeline(first.study.settings.data.pipeline, overrides)
        overrides["data.path"] = given.data
    for name in ("trials", "hours", "gpu_hours"):
        if getattr(given, name) is not None:
            overrides[f"budget.{name}"] = getattr(given, name)
    if given.storage is not None:
        overrides["storage"] = given.storage
    if given.workers is not None:
        overrides["train.workers"] = given.workers
    return overrides


def _print_forecasts(found: Sequence[OwnStudy], plans: Sequence[Plan]) -> None:
    from sdl_study.data.prepared import PreparedData
    from sdl_study.study.checks import check_data_fits
    from sdl_study.study.forecast import forecast_text, make_forecast

    for number, (own, plan) in enumerate(zip(found, plans, strict=True)):
        path = plan.settings.data.path
        data = PreparedData.load(Path(path)) if path else None
        if data is not None:
            check_data_fits(plan.settings, data, plan.name, plan.module)
        text = forecast_text(make_forecast(plan, own.study.expects, data))
        print("\n".join([*([""] if number else []), text, *own.study.published]))


def _refuse_pipeline(pipeline: str | None, overrides: Mapping[str, Any]) -> None:
    """Data that lie ready beside a pipeline that makes them: one of the two is not meant."""
    if overrides.get("data.pipeline", pipeline) is not None:
        raise UserError(
            f"--data: this study makes its own data (data.pipeline={pipeline}); add --set data.pipeline=None to use "
            "others"
        )
    if "data.path" in overrides:
        raise UserError("--data: give either it or --set data.path, not both")


def parse_overrides(given: Sequence[str]) -> dict[str, Any]:
    """``PATH=VALUE`` pairs; a value is read as a Python literal where it is one, else as a word.

    A number for a setting that is a text stays what was written: a folder may be called 2024.

    Raises:
        UserError: a pair without "=".
    """
    from sdl_study.setting_paths import takes_text

    found: dict[str, Any] = {}
    for pair in given:
        path, sign, text = pair.partition("=")
        if not sign or not path:
            raise UserError(f"--set {pair}: write it as PATH=VALUE, for example train.epochs=2")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = {"true": True, "false": False}.get(text, text)
        as_it_stands = (takes_text(path) or path == "method") and not isinstance(value, str | None)
        found[path] = text if as_it_stands else value
    return found
