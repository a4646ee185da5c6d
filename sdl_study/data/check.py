"""What is in a prepared data set's train and dev splits, told before anything is trained on it.

Nothing here opens the test labels; of the test split only the manifest's aggregates are shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdl_study.data.sampler import ContrastiveSampler
from sdl_study.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float

    from sdl_study.data.prepared import Manifest, PreparedData
    from sdl_study.losses import LabelSets

RELATIONS = ("disjoint", "equal", "overlap", "subset", "superset")
_BATCHES = 20
_SHOWN = 5


def describe(prepared: PreparedData, batch_size: int, min_positives: int | None = None) -> str:
    """Counts, label distribution, relation mix, valid anchors, text lengths and leakage, as printed text.

    Args:
        prepared: the data set; its content is checked against the manifest's digests.
        batch_size: global batch size that the relation mix and the valid anchors are measured at.
        min_positives: positives in dev that a label needs to count in an objective; None says nothing of them.

    Raises:
        UserError: the content is not what the manifest says.
    """
    verify(prepared)
    manifest = prepared.manifest
    lines = [
        f"{manifest.name}: {manifest.modality}, {manifest.terms}, fingerprint {manifest.fingerprint[:16]}",
        f"split: {manifest.split_origin}",
        *(f"note: {note}" for note in manifest.notes),
        "",
        *_counts(manifest),
        "",
        *_label_distribution(prepared),
        *([] if min_positives is None else [_enough_positives(prepared, min_positives)]),
        "",
        *_batches(prepared.labels("train"), batch_size),
    ]
    if manifest.modality == "text":
        lines += ["", *_text_lengths(prepared)]
    return "\n".join([*lines, "", *_leakage(manifest)])


def verify(prepared: PreparedData) -> None:
    """Compare examples, labels and features with the manifest's digests; test labels stay closed.

    Raises:
        UserError: they differ: the data set was changed after it was prepared.
    """
    from sdl_study.data.fingerprint import examples_digest, features_digest, labels_digest

    digests = prepared.manifest.digests
    found = {
        "examples.parquet": examples_digest(prepared.path / "examples.parquet", prepared.manifest.modality),
        "labels.parquet": labels_digest(prepared.label_codes, prepared.label_names),
    }
    if prepared.manifest.modality == "features":
        found["features.npy"] = features_digest(prepared.features())
    for file, digest in found.items():
        if digest != digests.get(Path(file).stem):
            raise UserError(
                f"{prepared.path / file}: content differs from the manifest's fingerprint; "
                "prepare the data again"
            )


def relation_mix(labels: LabelSets, batch_size: int, seed: int = 0) -> dict[str, float]:
    """Share of the five relations among ordered pairs (anchor, other candidate) of random batches."""
    totals = np.zeros(len(RELATIONS))
    for shared, size in _pairs(labels, batch_size, seed):
        totals += np.bincount(_relations(shared, size), minlength=len(RELATIONS))
    return dict(zip(RELATIONS, (totals / max(totals.sum(), 1)).tolist(), strict=True))


def valid_anchor_fractions(
    labels: LabelSets, batch_size: int, seed: int = 0, label_aware: float = 0.0
) -> dict[str, float]:
    """Mean share of a batch's examples that have a positive, by what the losses call one.

    "any" holds for every loss whose positives share a label (any, mulsupcon, jaccard, sd); "all"
    asks for an equal label set.
    """
    found: dict[str, list[float]] = {"any": [], "all": []}
    for shared, size in _pairs(labels, batch_size, seed, label_aware):
        sharing = shared > 0
        for name, positives in (("any", sharing), ("all", sharing & (shared == size) & (shared == size.T))):
            np.fill_diagonal(positives, False)
            found[name].append(float(positives.any(axis=1).mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _pairs(
    labels: LabelSets, batch_size: int, seed: int, label_aware: float = 0.0
) -> list[tuple[Float[np.ndarray, "B B"], Float[np.ndarray, "B 1"]]]:
    """|S∩T| of every pair, and |S|, for the first full batches of an epoch."""
    sampler = ContrastiveSampler(len(labels), batch_size, seed, labels=labels, label_aware=label_aware)
    found = []
    for step, batch in enumerate(sampler.global_batches(0)):
        if step == _BATCHES or (step and len(batch) < batch_size):
            break
        part = labels[batch]
        used, columns = np.unique(part.indices, return_inverse=True)
        dense = np.zeros((len(batch), len(used)), dtype=np.float32)
        dense[part.row_of_entry(), columns] = 1
        found.append((dense @ dense.T, dense.sum(axis=1, keepdims=True)))
    return found


def _relations(shared: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Index into RELATIONS of every ordered pair but those of an example with itself."""
    inside_other, other_inside = shared == size, shared == size.T
    kind = np.select(
        [shared == 0, inside_other & other_inside, other_inside, inside_other], [0, 1, 3, 4], default=2
    )
    return kind[~np.eye(len(kind), dtype=bool)]


def _counts(manifest: Manifest) -> list[str]:
    lines = [
        f"{'split':<8}{'examples':>10}{'groups':>10}{'labels/example':>16}{'unlabelled':>12}{'labels used':>13}"
    ]
    for split, counts in manifest.counts.items():
        lines.append(
            f"{split:<8}{counts.examples:>10,}{counts.groups:>10,}{counts.mean_labels:>16.2f}"
            f"{counts.without_labels:>12,}{counts.labels_present:>13,}"
        )
    order = {"train": 0, "dev": 1, "test": 2}
    return [lines[0], *sorted(lines[1:], key=lambda line: order[line.split()[0]])]


def _label_distribution(prepared: PreparedData) -> list[str]:
    table = prepared.label_table
    counts = table["train_count"].to_numpy()
    bands = {band: int((table["band"] == band).sum()) for band in ("head", "medium", "tail")}
    quantiles = np.quantile(counts, [0, 0.25, 0.5, 0.75, 1]).astype(int)
    shown = ", ".join(f"{band} {count:,}" for band, count in bands.items())
    unseen = f"{int((counts == 0).sum()):,} never in train"
    lines = [
        f"labels: {len(counts):,} (head from 100 training examples, medium from 10: {shown}); {unseen}",
        f"training examples of a label: {' / '.join(f'{q:,}' for q in quantiles)} (0, 25, 50, 75, 100%)",
    ]
    restricted = prepared.manifest.terms == "restricted"
    for index in np.argsort(-counts, kind="stable")[:_SHOWN]:
        count = "<10" if restricted and counts[index] < 10 else f"{counts[index]:,}"
        code, name = table["code"][int(index)], table["name"][int(index)]
        lines.append(f"  {count:>8}  {code}{'' if name == code else '  ' + name}")
    return lines


def _enough_positives(prepared: PreparedData, least: int) -> str:
    """How many labels dev can tell something about; those of test stay closed."""
    counts = {split: prepared.labels(split).counts() for split in ("train", "dev")}
    enough = ", ".join(f"{split} {np.count_nonzero(found >= least):,}" for split, found in counts.items())
    present, counted = np.count_nonzero(counts["dev"]), np.count_nonzero(counts["dev"] >= least)
    few = 2 * counted < present
    all_count = (
        f" (fewer than half of the {present:,} that dev has, so that all of them count)" if few else ""
    )
    return f"labels with at least {least} positives, which count in an objective over labels: {enough}{all_count}"


def _batches(labels: LabelSets, batch_size: int) -> list[str]:
    if len(labels) < 2:
        return [f"batches: only {len(labels)} training example"]
    mix = relation_mix(labels, batch_size)
    shares = ", ".join(f"{name} {share:.1%}" for name, share in mix.items())
    lines = [f"random batches of {batch_size}: {shares} of the pairs"]
    names = {"any": "any, mulsupcon, jaccard, sd", "all": "all"}
    for label_aware in (0.0, 1.0):
        valid = valid_anchor_fractions(labels, batch_size, label_aware=label_aware)
        shown = "; ".join(f"{names[key]} {share:.1%}" for key, share in valid.items())
        lines.append(f"valid anchors with train.label_aware={label_aware:g}: {shown}")
    sharing = 1 - mix["disjoint"]
    if sharing > 0.4:
        lines.append(f"warning: {sharing:.0%} of the pairs share a label; contrastive training may collapse")
    return lines


def _text_lengths(prepared: PreparedData) -> list[str]:
    lines = []
    for split in ("train", "dev"):
        lengths = [len(text.split()) for batch in prepared.iter_texts(4_096, split) for text in batch]
        quantiles = np.quantile(lengths, [0.05, 0.5, 0.95, 1]).astype(int)
        shown = " / ".join(f"{q:,}" for q in quantiles)
        lines.append(f"words of a {split} text: {shown} (5, 50, 95, 100%), mean {np.mean(lengths):.1f}")
    return lines


def _leakage(manifest: Manifest) -> list[str]:
    lines = []
    for kind, found in manifest.leakage.items():
        name = kind.replace("_", " ")
        shown = ", ".join(f"{pair} {count:,}" for pair, count in sorted(found.items()))
        lines.append(f"{name}: {shown}" + ("" if any(found.values()) else " (none)"))
    if any(count for found in manifest.leakage.values() for count in found.values()):
        lines.append("warning: splits are not independent; scores on dev and test may be too high")
    return lines
