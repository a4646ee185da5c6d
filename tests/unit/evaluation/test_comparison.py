"""Comparisons of two arms: values, words, and what is refused."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdl_study.errors import UserError
from sdl_study.evaluation import multilabel_metrics
from sdl_study.evaluation.predictions import (
    FinalIdentity,
    Predictions,
    read_predictions,
    write_predictions,
)
from sdl_study.evaluation.targets import as_targets
from sdl_study.evaluation.verdict import UndefinedMetricError, compare, correct_secondary, paired_interval
from tests.benchmarks.verdict import null_predictions, prediction_rate


def pair(seeds: int = 3, effect: float = 0.0, seed: int = 0):  # noqa: ANN201
    return null_predictions(seeds, 0.1, np.random.default_rng(seed), effect=effect)


def test_repeated_documents_of_a_patient_do_not_sharpen_the_verdict() -> None:
    def tripled(finals):  # noqa: ANN001, ANN202
        rows = np.tile(np.arange(300), 3)
        return [
            replace(
                final,
                ids=np.arange(900),
                groups=final.groups[rows],
                scores=final.scores[rows],
                targets=replace(
                    final.targets,
                    rows=np.concatenate([final.targets.rows + 300 * copy for copy in range(3)]),
                    columns=np.tile(final.targets.columns, 3),
                    shape=(900, final.targets.shape[1]),
                ),
            )
            for final in finals
        ]

    first, second = pair()
    once = compare(first, second, metric="map_document", replicates=200).interval
    thrice = compare(tripled(first), tripled(second), metric="map_document", replicates=200).interval
    assert once is not None
    assert thrice is not None
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), rel=1e-9)


def test_compare_gives_the_metrics_and_the_right_word() -> None:
    first, second = pair(effect=1.0)
    better = compare(first, list(reversed(second)), replicates=200)
    for final, (value, _) in zip(first, better.values, strict=True):
        expected = multilabel_metrics(final.scores, final.targets, threshold=final.threshold)["map"]
        assert value == pytest.approx(expected, abs=1e-12)
    assert better.difference == pytest.approx(np.mean([a - b for a, b in better.values]))
    assert better.word == "better"
    assert better.seeds == (0, 1, 2)
    worse = compare(second, first, replicates=200)
    assert worse.word == "worse"
    assert worse.difference == -better.difference
    losses = compare(first, second, metric="hamming_loss", replicates=200)
    assert losses.difference < 0
    assert losses.word == "better"


def test_no_difference_is_not_distinguishable() -> None:
    same = compare(*pair(seed=3), replicates=200)
    assert same.word == "not distinguishable"
    assert same.interval is not None
    first, _ = pair()
    itself = compare(
        first, [replace(f, identity=replace(f.identity, arm="twin")) for f in first], replicates=50
    )
    assert itself.word == "not distinguishable"
    assert itself.interval is not None
    assert itself.interval.p_value == 1.0
    assert correct_secondary([itself, same])[0].word == "not distinguishable"


def made(
    arm: str, scores: np.ndarray, truth: np.ndarray, groups: np.ndarray, seeds: int = 2
) -> list[Predictions]:
    """Finals of one arm that predict the same whatever the seed."""
    rows, targets = np.arange(len(truth)), as_targets(truth, truth.shape)
    return [
        Predictions(rows, groups, scores, targets, FinalIdentity("s", arm, "probe", k), "d", "f", "1", 0.5)
        for k in range(seeds)
    ]


TRUTH = np.eye(3, dtype=bool)[[0, 1, 2, 0]]
GOOD, EVEN = np.where(TRUTH, 0.9, 0.1), np.full(TRUTH.shape, 0.5)


def no_verdict(words: str, *arms: list[Predictions], metric: str = "map_document") -> None:
    """What a caller prints after "no verdict: " is one line without a capital or a full stop."""
    with pytest.raises(UndefinedMetricError, match=words) as caught:
        compare(*arms, metric=metric, replicates=50)
    line = str(caught.value)
    assert "\n" not in line
    assert line[0].islower()
    assert not line.endswith(".")


def test_one_group_allows_no_verdict() -> None:
    groups = np.zeros(4, dtype=int)
    no_verdict(
        "^the test split has one group", made("sd", GOOD, TRUTH, groups), made("any", EVEN, TRUTH, groups)
    )
    alone = [made(arm, scores, TRUTH, groups, seeds=1) for arm, scores in (("sd", GOOD), ("any", EVEN))]
    assert compare(*alone, metric="map_document").word == "1 seed: no claim"


@pytest.mark.parametrize("seeds", [1, 2])
def test_an_undefined_metric_allows_no_verdict(seeds: int) -> None:
    nothing, groups = np.zeros_like(TRUTH), np.arange(4)
    for metric in ("map", "micro_auc", "macro_f1_caml_present"):
        arms = (made("sd", GOOD, nothing, groups, seeds), made("any", EVEN, nothing, groups, seeds))
        no_verdict(f"^{metric} is undefined on the test split", *arms, metric=metric)


def test_a_metric_that_resampling_undefines_allows_no_verdict() -> None:
    rare = np.zeros_like(TRUTH)
    rare[0, 0] = True
    arms = (made("sd", GOOD, rare, np.arange(4)), made("any", EVEN, rare, np.arange(4)))
    no_verdict("^the metric is undefined on some resampled sets of patients", *arms, metric="map")


@pytest.mark.parametrize("documents", [2, 4])
def test_a_difference_that_nothing_varies_allows_no_verdict(documents: int) -> None:
    truth, groups = TRUTH[:documents], np.arange(documents)
    for good, bad in ((GOOD, EVEN), (EVEN, GOOD)):
        arms = (made("sd", good[:documents], truth, groups), made("any", bad[:documents], truth, groups))
        no_verdict("^neither seeds nor patients vary: all 2 seeds show the same difference", *arms)


def written(folder: Path, finals: list[Predictions]) -> list[Path]:
    paths = [folder / f"{final.identity.arm}-{final.identity.seed_number}.parquet" for final in finals]
    for path, final in zip(paths, finals, strict=True):
        write_predictions(path, final, private=False)
    return paths


def test_finals_are_read_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair(effect=1.0)
    given = written(tmp_path, first), written(tmp_path, second)
    alive: list[weakref.ref[np.ndarray]] = []

    def spy(path: Path) -> Predictions:
        assert [of for of in alive if of() is not None] == []
        found = read_predictions(path)
        alive.append(weakref.ref(found.scores))
        return found

    monkeypatch.setattr("sdl_study.evaluation.verdict.comparison.read_predictions", spy)
    for metric in ("map", "micro_auc", "macro_f1", "map_document"):
        from_paths = compare(*given, metric=metric, replicates=50)
        assert from_paths == compare(first, second, metric=metric, replicates=50)
    assert len(alive) == 4 * 6
    assert compare(given[0], second, replicates=50) == compare(first, second, replicates=50)


def test_paths_that_cannot_be_paired_are_refused(tmp_path: Path) -> None:
    first, second = pair()
    paths = written(tmp_path, first)
    with pytest.raises(ValueError, match=r"seeds \[0, 1, 2\] cannot be paired with \[0, 1\]"):
        compare(paths, written(tmp_path, second[:2]))
    moved = [replace(final, groups=final.groups[::-1].copy()) for final in second]
    with pytest.raises(ValueError, match="first/0 and second/0 differ in test inputs"):
        compare(paths, written(tmp_path, moved))
    paths[1].write_bytes(b"")
    with pytest.raises(UserError, match=r"first-1\.parquet: damaged predictions"):
        compare(paths, written(tmp_path, second))


def test_one_seed_makes_no_claim() -> None:
    first, second = pair(seeds=1, effect=3.0)
    found = compare(first, second)
    assert found.word == "1 seed: no claim"
    assert found.interval is None
    assert found.difference > 0.1
    assert correct_secondary([found]) == [found]


def test_the_same_call_gives_the_same_verdict() -> None:
    first, second = pair()
    assert compare(first, second, replicates=100) == compare(first, second, replicates=100)
    assert compare(first, second, replicates=100) != compare(first, second, replicates=100, seed=1)


def test_what_cannot_be_paired_is_refused() -> None:
    first, second = pair()
    for changed, words in [
        (second[:2], r"seeds \[0, 1, 2\] cannot be paired with \[0, 1\]"),
        ([*second, second[0]], "same seed"),
        ([replace(second[0], declaration="e"), *second[1:]], "differ in declaration"),
        ([replace(second[0], fingerprint="e"), *second[1:]], "differ in data"),
        ([replace(second[0], ids=second[0].ids + 1), *second[1:]], "differ in test inputs"),
        ([replace(f, identity=replace(f.identity, stage="finetune")) for f in second], "differ in stage"),
        ([*second[:2], replace(second[2], identity=replace(second[2].identity, arm="any"))], "differ in arm"),
    ]:
        with pytest.raises(ValueError, match=words):
            compare(first, changed)
    with pytest.raises(ValueError, match="unknown metric"):
        compare(first, second, metric="accuracy")
    with pytest.raises(ValueError, match="two seeds"):
        paired_interval(np.zeros(1), np.zeros((5, 1)), 10)
    with pytest.raises(UndefinedMetricError, match="undefined"):
        paired_interval(np.zeros(2), np.full((5, 2), np.nan), 10)


@pytest.mark.slow
@pytest.mark.parametrize("seed_sd", [0.02, 0.3])
@pytest.mark.parametrize("metric", ["map", "macro_f1"])
def test_metrics_that_are_no_means_hold_their_level(metric: str, seed_sd: float) -> None:
    assert prediction_rate(metric, 3, seed_sd, studies=400) < 0.083  # 5% and three standard errors


def test_several_searches_are_the_pairs_and_their_finals_are_averaged() -> None:
    first, second = pair(seeds=6)
    found = compare(first, second, replicates=200, searches=3)
    per_search = np.array([a - b for a, b in found.values]).reshape(3, 2).mean(axis=1)
    assert found.interval is not None
    assert (found.pairs, found.searches, len(found.seeds)) == (3, 3, 6)
    assert found.difference == pytest.approx(per_search.mean())
    assert found.interval.seed_variance == pytest.approx(per_search.var(ddof=1) / 3)
    by_seed = compare(first, second, replicates=200)
    assert by_seed.interval is not None
    assert (by_seed.pairs, by_seed.difference) == (6, pytest.approx(found.difference))
    (corrected,) = correct_secondary([found])
    assert corrected.interval is not None
    assert corrected.interval.high == pytest.approx(found.interval.high)


def test_finals_that_searches_cannot_share() -> None:
    with pytest.raises(ValueError, match="3 pairs of finals cannot come from 2 searches"):
        compare(*pair(), replicates=50, searches=2)
