"""Command line: ``python -m sdl_study.run`` runs the demo studies; ``--help`` shows the rest."""

from __future__ import annotations

import argparse
import ast
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdl_study.errors import UserError, internal_error
from sdl_study.own_modules import load_pipeline, load_study

if TYPE_CHECKING:
    from sdl_study.data.prepared import PreparedData
    from sdl_study.study.answer import Answer
    from sdl_study.study.engine import Engine
    from sdl_study.study.plan import Plan

DEMOS = ("demo_mimic", "demo_coco")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 for a user's mistake."""
    given = _parser().parse_args(_with_default(list(sys.argv[1:] if arguments is None else arguments)))
    return main_of(lambda: given.command(given))


def main_of(command: Callable[[], None]) -> int:
    """Run something and turn a user's mistake into one line and exit code 2, an interruption into 130."""
    try:
        command()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"error: {line}" if not line.startswith("  ") else line, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 (any text may hold a patient's words: only places are shown)
        print(internal_error(error), end="", file=sys.stderr)
        return 1
    return 0


def _with_default(arguments: list[str]) -> list[str]:
    """Without a command, ``study`` is meant."""
    named = bool(arguments) and arguments[0] in ("study", "check", "-h", "--help")
    return arguments if named else ["study", *arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sdl_study.run",
        description="Studies of the Similarity-Dissimilarity loss. Without a command: both demo studies.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    study = commands.add_parser("study", help="run or resume studies (the default)")
    study.add_argument(
        "names", nargs="*", metavar="NAME", help=f"modules of search_spaces; default {' '.join(DEMOS)}"
    )
    study.add_argument(
        "--out", type=Path, default=Path("studies"), help="folder of studies (default: studies)"
    )
    study.add_argument("--name", help="another name for the study, to start it anew with other settings")
    study.add_argument("--trials", type=int, help="trials per arm; a larger number extends a study")
    study.add_argument(
        "--workers", type=int, help="workers of a group (default: one per GPU, or min(2, CPUs))"
    )
    study.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
        help="fix a setting, e.g. train.epochs=2 or loss.temperature=0.1 (which is then not searched)",
    )  # fmt: skip
    study.add_argument(
        "--address", help="Ray cluster to join, e.g. auto (default: start one on this machine)"
    )
    study.add_argument("--tracking-uri", help="MLflow server (default: a SQLite database in --out)")
    study.add_argument(
        "--allow-record-artifacts", action="store_true",
        help="put predictions, tokenizer and weights of restricted data into MLflow too; tagged on the run",
    )  # fmt: skip
    study.set_defaults(command=run_studies)
    check = commands.add_parser("check", help="look at a prepared data set")
    check.add_argument("what", choices=["data"])
    check.add_argument("path", type=Path)
    check.add_argument("--batch-size", type=int, default=64, help="global batch size of the relation mix")
    check.set_defaults(command=check_something)
    return parser


def check_something(given: argparse.Namespace) -> None:
    """``check data PATH``."""
    from sdl_study.data.check import describe
    from sdl_study.data.prepared import PreparedData

    print(describe(PreparedData.load(given.path), given.batch_size))


def run_studies(given: argparse.Namespace) -> None:
    """``study [NAME ...]``: check all, then run one after another on one engine."""
    names = given.names or list(DEMOS)
    if given.name and len(names) > 1:
        raise UserError("--name: give it with one study")
    from sdl_study.study.plan import make_plan

    overrides = parse_overrides(given.overrides)
    if given.trials is not None:
        overrides["budget.trials"] = given.trials
    if given.workers is not None:
        overrides["train.workers"] = given.workers
    joins = given.address is not None
    studies = [load_study(name, renamed=given.name is not None) for name in names]
    plans = [make_plan(study, given.out, given.name, overrides, joins) for study in studies]
    for answer in execute(plans, given.address, given.tracking_uri, given.allow_record_artifacts):
        print(f"\n{answer.text()}")
    from sdl_study.study.tracking_server import how_to_look

    look = how_to_look(given.tracking_uri, plans[0].files.mlflow_uri)
    print(f"\nTrials, parameters and metrics: {look}")


def execute(
    plans: Sequence[Plan], address: str | None, tracking_uri: str | None, record_artifacts: bool = False
) -> list[Answer]:
    """Run checked plans one after another; the engine is started when a plan first needs it.

    Raises:
        UserError: the tracking server or the data of one of the studies is not there; before the first starts.
    """
    from sdl_study.study.tracking_server import check_reachable

    with _terminated_as_interrupted(), ExitStack() as stack:
        if tracking_uri is not None:
            check_reachable(tracking_uri)
        data = load_data(plans)
        engines = _Engines(stack, address)
        return [_run_study(plan, data[plan.name], engines, tracking_uri, record_artifacts) for plan in plans]


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A batch system's SIGTERM ends a study as Ctrl-C does: in order, to go on later."""
    before = signal.getsignal(signal.SIGTERM)
    _interrupt_on_termination()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt_on_termination() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


class _Engines:
    """The engine, started when a study first needs it and kept for the ones after it with the same groups."""

    def __init__(self, stack: ExitStack, address: str | None) -> None:
        self._stack, self._address = stack, address
        self._running: dict[tuple[Any, ...], Engine] = {}

    def for_plan(self, plan: Plan) -> Engine:
        from sdl_study.study.engine import Engine

        train, attempts = plan.settings.train, plan.settings.budget.max_attempts
        key = (train.workers, train.trials_per_group, attempts)
        if key not in self._running:
            self._stack.close()
            self._running.clear()
            folder = plan.files.out / ".engine"
            folder.mkdir(parents=True, exist_ok=True)
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            engine = Engine(train.workers, train.trials_per_group, attempts, folder, self._address)
            self._running[key] = self._stack.enter_context(engine)
            _interrupt_on_termination()  # Ray has put a handler of its own there that aborts
        return self._running[key]


def _run_study(
    plan: Plan, data: PreparedData, engines: _Engines, tracking_uri: str | None, record_artifacts: bool
) -> Answer:
    from sdl_study.study.driver import Driver
    from sdl_study.study.files import locked

    with locked(plan.files):
        return Driver(plan, data, tracking_uri, record_artifacts).run(lambda: engines.for_plan(plan))


def load_data(plans: Sequence[Plan]) -> dict[str, PreparedData]:
    """The prepared data of every study, by its name; first those that lie ready, then what pipelines make.

    Raises:
        UserError: a data set is missing, damaged, or not the one that a study began with.
    """
    from sdl_study.data.prepared import PreparedData
    from sdl_study.data.stores import expected_spec
    from sdl_study.study.checks import check_data_fits, check_encoders_fit
    from sdl_study.study.plan import check_resume

    found: dict[str, PreparedData] = {}
    for plan in sorted(plans, key=lambda plan: plan.settings.data.pipeline is not None):
        path = prepare_data(plan)
        try:
            data = PreparedData.load(path)
        except OSError as error:
            raise UserError(f"{plan.name}: data.path {path}: cannot be read ({error.strerror})") from None
        data.rows("train")  # reads the table of examples, so that damage is found now
        check_data_fits(plan.settings, data, plan.name)
        check_resume(plan, data.manifest.fingerprint)
        if (
            not plan.files.study_json.exists()
        ):  # one that has begun is checked against its store, if work is left
            spec = expected_spec(data, plan.settings.data.store)
            check_encoders_fit(plan.space, plan.settings, spec, plan.name)
        found[plan.name] = data
    return found


def prepare_data(plan: Plan) -> Path:
    """The folder of the study's prepared data set, made by its pipeline where one is named."""
    settings = plan.settings.data
    if settings.pipeline is None:
        if not settings.path:
            raise UserError(f"{plan.name}: data.path is required: the folder that a pipeline prepared")
        return Path(settings.path).resolve()  # workers may run elsewhere
    return load_pipeline(settings.pipeline).prepare(settings.name or plan.name, plan.files.data)


def parse_overrides(given: Sequence[str]) -> dict[str, Any]:
    """``PATH=VALUE`` pairs; a value is read as a Python literal where it is one, else as a word.

    A number for a setting that is a text stays what was written: a folder may be called 2024.

    Raises:
        UserError: a pair without "=".
    """
    from sdl_study.config import takes_text

    found: dict[str, Any] = {}
    for pair in given:
        path, sign, text = pair.partition("=")
        if not sign or not path:
            raise UserError(f"--set {pair}: write it as PATH=VALUE, for example train.epochs=2")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = {"true": True, "false": False}.get(text, text)
        as_it_stands = takes_text(path) and not isinstance(value, str | None)
        found[path] = text if as_it_stands else value
    return found


if __name__ == "__main__":
    sys.exit(main())
