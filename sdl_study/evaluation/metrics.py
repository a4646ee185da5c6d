"""The literature's multi-label metrics, each definition under its own name.

| key | definition |
|---|---|
| micro_precision, micro_recall, micro_f1 | pooled counts of all cells |
| macro_precision, macro_recall | mean over labels; 0 where a label is never predicted, or has no positive |
| macro_f1 | mean over labels of each label's F1 (scikit-learn; Edin et al. 2023) |
| macro_f1_caml | 2PR/(P+R) of macro_precision P and macro_recall R (Mullenbach et al. 2018; CF1 on COCO) |
| micro_auc, macro_auc | area under the ROC curve: of all cells; mean over labels with both classes |
| map | mean over labels with a positive of non-interpolated average precision (COCO's mAP) |
| map_document | mean over documents with a label of the average precision of their label ranking |
| precision_at_k | mean over documents of (labels among the k highest scores) / min(k, L) |
| recall_at_k | mean over documents of the share of its labels among the k; 0 for a document without a label |
| r_precision | mean over documents with a label of the share found among as many as it has |
| exact_match, hamming_loss | share of documents predicted exactly; share of wrong cells |

precision_at_k and recall_at_k are those of Mullenbach et al. (2018, CAML's evaluation.py), short rankings and
unlabelled documents included. A prediction is a score above the threshold. Of equal scores the lower label
index ranks first. A metric that no label or document defines is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sdl_study.evaluation.ranking import (
    average_precision,
    flat_roc_auc,
    rank_counts,
    roc_auc,
    tie_broken_rank,
)
from sdl_study.evaluation.targets import Targets, as_pair
from sdl_study.evaluation.thresholds import above

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from sdl_study.evaluation.targets import Labels, Scores

Universe = Literal["all", "present"]
LOWER_IS_BETTER = frozenset({"hamming_loss"})


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Counts of each label: true positives, predictions and positives."""

    hits: Int[np.ndarray, " L"]
    predicted: Int[np.ndarray, " L"]
    positives: Int[np.ndarray, " L"]

    @property
    def precision(self) -> Float[np.ndarray, " L"]:
        """Of each label; 0 where it is never predicted."""
        return self.hits / np.maximum(self.predicted, 1)

    @property
    def recall(self) -> Float[np.ndarray, " L"]:
        """Of each label; 0 where it has no positive."""
        return self.hits / np.maximum(self.positives, 1)

    @property
    def f1(self) -> Float[np.ndarray, " L"]:
        """Of each label; 0 where it is neither predicted nor positive."""
        return 2.0 * self.hits / np.maximum(self.predicted + self.positives, 1)


def harmonic(precision: float, recall: float) -> float:
    """2PR/(P+R), 0 where both are 0."""
    return 2.0 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def count_labels(predictions: Bool[np.ndarray, "n L"], targets: Targets) -> LabelCounts:
    """Per-label counts of a prediction matrix."""
    correct = predictions[targets.rows, targets.columns]
    hits = np.bincount(targets.columns[correct], minlength=targets.shape[1])
    return LabelCounts(hits, np.count_nonzero(predictions, axis=0), targets.per_label)


def pooled(counts: LabelCounts) -> dict[str, float]:
    """Micro-averaged precision, recall and F1."""
    hits, predicted, positives = (int(x.sum()) for x in (counts.hits, counts.predicted, counts.positives))
    return {
        "micro_precision": hits / max(predicted, 1),
        "micro_recall": hits / max(positives, 1),
        "micro_f1": 2.0 * hits / max(predicted + positives, 1),
    }


def macro(counts: LabelCounts, keep: Bool[np.ndarray, " L"] | None = None) -> dict[str, float]:
    """Macro-averaged precision, recall and both F1s, over all or some labels; NaN over none."""
    chosen = slice(None) if keep is None else keep
    precision, recall, f1 = (_mean(x[chosen]) for x in (counts.precision, counts.recall, counts.f1))
    return {
        "macro_precision": precision,
        "macro_recall": recall,
        "macro_f1": f1,
        "macro_f1_caml": harmonic(precision, recall) if precision == precision else precision,
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _defined_mean(values: np.ndarray) -> float:
    return _mean(values[~np.isnan(values)])


def _decisions(
    predictions: Bool[np.ndarray, "n L"], targets: Targets, counts: LabelCounts
) -> dict[str, float]:
    documents, width = targets.shape
    correct = predictions[targets.rows, targets.columns]
    found = np.bincount(targets.rows[correct], minlength=documents)
    exact = (found == targets.per_document) & (found == np.count_nonzero(predictions, axis=1))
    wrong = int((counts.predicted + counts.positives - 2 * counts.hits).sum())
    return {"exact_match": float(exact.mean()), "hamming_loss": wrong / (documents * width)}


def _over_labels(scores: Float[np.ndarray, "n L"], targets: Targets) -> dict[str, float]:
    by_label = np.ascontiguousarray(scores.T)
    counts = rank_counts(by_label, targets.columns, targets.rows)
    return {
        "micro_auc": flat_roc_auc(scores, targets.rows, targets.columns),
        "macro_auc": _defined_mean(roc_auc(counts)),
        "map": _defined_mean(average_precision(counts)),
    }


def _over_documents(
    scores: Float[np.ndarray, "n L"], targets: Targets, ks: Sequence[int]
) -> dict[str, float]:
    counts = rank_counts(scores, targets.rows, targets.columns)
    rank = tie_broken_rank(scores, counts, targets.columns)
    sizes = counts.positives
    labelled = sizes > 0
    found = {"map_document": _defined_mean(average_precision(counts))}
    for k in ks:
        hits = np.bincount(targets.rows[rank < k], minlength=scores.shape[0])
        found[f"precision_at_{k}"] = float(hits.mean() / min(k, scores.shape[1]))
        found[f"recall_at_{k}"] = _mean(hits / np.maximum(sizes, 1))
    within = np.bincount(targets.rows[rank < sizes[targets.rows]], minlength=scores.shape[0])
    found["r_precision"] = _mean(within[labelled] / sizes[labelled])
    return found


def multilabel_metrics(
    scores: Scores,
    labels: Labels,
    *,
    threshold: float | np.ndarray,
    ks: Sequence[int] = (5, 8, 15),
    universe: Universe = "all",
) -> dict[str, float]:
    """All metrics of the table above.

    With ``universe="all"`` every label counts; the macro averages over labels with a positive here come along
    under the same keys with ``_present``. With ``universe="present"`` labels without a positive are dropped
    before anything is computed (also from rankings and pooled counts); every value comes under its plain key
    and, since tables show it beside the other universe's, under the key with ``_present``.

    Args:
        scores: probabilities [n, L], float32 or float64.
        labels: label sets (CSR) or a multi-hot matrix [n, L].
        threshold: one number, or one for each label [L].
        ks: cut-offs of precision and recall at k.
        universe: which labels count.

    Raises:
        ValueError: scores that are no probabilities, labels or thresholds of another shape, a cut-off below
            1, no label present.
    """
    array, targets = as_pair(scores, labels)
    if any(k < 1 for k in ks):
        raise ValueError(f"cut-offs must be at least 1, not {min(ks)}")
    if universe not in ("all", "present"):
        raise ValueError(f"universe is {universe!r}; choose from all, present")
    present = targets.per_label > 0
    if universe == "present" and not present.all():
        if not present.any():
            raise ValueError("no label has a positive, so none is present")
        limit = np.asarray(threshold)
        threshold = limit[present] if limit.ndim == 1 and limit.shape[0] == present.size else threshold
        array, targets = array[:, present], targets.restrict(present)
    predictions = above(array, threshold)
    counts = count_labels(predictions, targets)
    found = pooled(counts) | macro(counts) | _over_labels(array, targets)
    found |= _over_documents(array, targets, ks) | _decisions(predictions, targets, counts)
    over_present = found if universe == "present" else macro(counts, present)
    return found | {f"{key}_present": value for key, value in over_present.items()}
