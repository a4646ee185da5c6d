"""How often a verdict is wrong about an arm compared with itself, searched twice: an A/A study on real trainings.

    python -m tests.benchmarks.search_aa POOL.npz --train 30 --work FOLDER    # minutes; again, it goes on
    python -m tests.benchmarks.search_aa POOL.npz

Trains configurations of ``any`` on demo_coco, drawn at random from its space, each on the search seed and on three
final seeds, and keeps what became of them: the objective on dev, and the primary metric of test with its bootstrap
replicates over the images. Then draws studies of the arm against itself from that pool: both sides get so many trials,
shared out to R searches; a search's winner is its best on dev, and each final of a winner is one of its three. Prints
the share of studies in which the interval leaves out zero (nominal 5%), and the difference that the median study could
have found.

One search (R = 1) has three finals a winner, as a study with ``budget.final_seeds=3``; its interval knows the luck of
the final seeds, not that of the search. With more searches the pairs are searches, with one final each.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
import torch

from pipelines import demo
from sdl_study.evaluation.final import score_final
from sdl_study.evaluation.metrics import weighted_metric
from sdl_study.evaluation.predictions import FinalIdentity, read_predictions
from sdl_study.evaluation.scores import SCORES_FILE
from sdl_study.evaluation.verdict import UndefinedMetricError, group_weights, paired_interval
from sdl_study.seeds import derive_seed
from sdl_study.space import SearchSpace
from sdl_study.study.plan import make_plan
from sdl_study.training.run import run_job
from sdl_study.workers.job import Job, Kind

if TYPE_CHECKING:
    from jaxtyping import Float

ARM = "any"
CONFIGURATIONS = 40
FINAL_SEEDS = 3
REPLICATES = 200
TRIALS = (4, 6, 10, 20)
SEARCHES = (1, 2, 3, 4, 5, 10)


@dataclass(frozen=True)
class Pool:
    """What trained configurations came to.

    Attributes:
        dev: the objective of each, on the search seed.
        test: the primary metric of each on every final seed: its value, then bootstrap replicates of the images,
            which all share.
        groups: number of images.
    """

    dev: Float[np.ndarray, " c"]
    test: Float[np.ndarray, "c k r"]
    groups: int


def configurations(space: SearchSpace) -> list[dict[str, object]]:
    """Parameters drawn at random from what the arm searches, always the same."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [dict(space.suggest(study.ask(), ARM, {})) for _ in range(CONFIGURATIONS)]


def train(file: Path, work: Path, minutes: float, processes: int) -> None:
    """Train the configurations that the pool does not have yet, as many as the time allows, some at a time."""
    ends = time.monotonic() + 60 * minutes
    data = demo.prepare("demo_coco", work / "data")
    dev, test, groups = _read(file) if file.exists() else ([], [], 0)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for first in range(len(dev), CONFIGURATIONS, processes):
            if time.monotonic() > ends:
                break
            started, numbers = time.monotonic(), range(first, min(first + processes, CONFIGURATIONS))
            for number, found in zip(numbers, pool.map(partial(_trained, work, data), numbers), strict=True):
                dev.append(found[0])
                test.append(found[1])
                groups = found[2]
                print(f"{number}: dev {found[0]:.3f}  test {found[1][:, 0].round(3)}")
            np.savez(file, dev=np.array(dev), test=np.array(test), groups=groups)
            print(
                f"{len(dev)} of {CONFIGURATIONS}, the last in {time.monotonic() - started:.0f} s", flush=True
            )


def _read(file: Path) -> tuple[list[float], list[np.ndarray], int]:
    with np.load(file) as kept:
        return kept["dev"].tolist(), list(kept["test"]), int(kept["groups"])


def _trained(work: Path, data: Path, number: int) -> tuple[float, np.ndarray, int]:
    """Objective on dev; value and replicates of the metric for every final seed; number of images."""
    from search_spaces.demo_coco import STUDY

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = {"data.pipeline": None, "data.path": str(data)}
    plan = make_plan(STUDY.of_arms((ARM,)), work, "search_aa", where)
    parameters = configurations(plan.space)[number]

    def run(kind: Kind, purpose: str, *seed: int) -> tuple[Path, dict]:
        folder = work / "jobs" / "-".join(map(str, (number, purpose, *seed)))
        job = Job(
            key=f"search_aa/{folder.name}", kind=kind, folder=str(folder), data=str(data),
            stores=str(plan.files.stores), arm=plan.job_arm(ARM), seed=derive_seed(0, purpose, *seed), resumed=True,
            settings=plan.with_parameters(parameters).model_dump(mode="json"),  # type: ignore[arg-type]
        )  # fmt: skip
        return folder, run_job(job, lambda _: True, None, torch.device("cpu"))

    objective = run("trial", "search")[1]["objective"]
    metric = plan.settings.primary_metric.removeprefix("test/")
    values, groups = [], 0
    for seed in range(FINAL_SEEDS):
        folder, result = run("final", "final", seed)
        score_final(
            data, folder / SCORES_FILE, FinalIdentity("search_aa", ARM, "probe", seed), declaration_sha="search_aa",
            code_version="", threshold=result["metrics"]["dev/threshold"], out_dir=folder,
        )  # fmt: skip
        found = read_predictions(folder / "predictions.parquet")
        drawn, groups = group_weights(found.groups, REPLICATES, 0)
        weights = np.concatenate([np.ones((1, found.ids.size)), drawn])
        values.append(weighted_metric(metric, found.scores, found.targets, found.threshold)(weights))
    return objective, np.array(values), groups


def side(
    pool: Pool, trials: int, searches: int, finals: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """One side of a study: value and replicates for every pair [k, r].

    Args:
        pool: drawn from with replacement, so that both sides are independent of each other.
        trials: in all; they are shared out to the searches.
        searches: how many; with one, the pairs are its winner's finals.
        finals: which final of a winner each pair shows, the same for both sides [k].
        generator: draws the trials.
    """
    drawn = generator.integers(pool.dev.size, size=(searches, trials // searches))
    winners = drawn[np.arange(searches), pool.dev[drawn].argmax(axis=1)]
    return pool.test[np.resize(winners, finals.size), finals]


def study(pool: Pool, trials: int, searches: int, generator: np.random.Generator) -> tuple[bool, float]:
    """Whether a study of the arm against itself finds a difference, and which it could have found.

    Where neither pairs nor images vary there is no verdict, and nothing that could be found.
    """
    finals = (
        np.arange(pool.test.shape[1])
        if searches == 1
        else generator.integers(pool.test.shape[1], size=searches)
    )
    one, other = (side(pool, trials, searches, finals, generator) for _ in range(2))
    try:
        found = paired_interval(one[:, 0] - other[:, 0], (one[:, 1:] - other[:, 1:]).T, pool.groups)
    except UndefinedMetricError:
        return False, np.nan
    return found.p_value < 0.05, found.detectable


def main() -> None:
    """Train, or print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pool", type=Path, help="file of the trained configurations (.npz)")
    parser.add_argument("--train", type=float, metavar="MINUTES", help="train so long first")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, of one thread each")
    parser.add_argument("--work", type=Path, help="folder for data and checkpoints of the training")
    parser.add_argument("--studies", type=int, default=2000, help="resampled studies per cell")
    given = parser.parse_args()
    if given.train and given.work is None:
        parser.error("--train needs --work FOLDER")
    if given.train:
        train(given.pool, given.work.resolve(), given.train, given.processes)
    dev, test, groups = _read(given.pool)
    pool = Pool(np.array(dev), np.array(test), groups)
    print(f"{pool.dev.size} configurations, {given.studies} studies per line, nominal 5%")
    print(f"{'trials':>6}{'searches':>10}{'wrong':>8}{'could find':>12}")
    for trials in TRIALS:
        for searches in (r for r in SEARCHES if trials % r == 0 and trials // r > 1):
            generator = np.random.default_rng([trials, searches])
            told = [study(pool, trials, searches, generator) for _ in range(given.studies)]
            wrong, detectable = np.mean([w for w, _ in told]), np.nanmedian([d for _, d in told])
            print(f"{trials:>6}{searches:>10}{wrong:>8.1%}{detectable:>12.3f}", flush=True)


if __name__ == "__main__":
    main()
