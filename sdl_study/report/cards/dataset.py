"""The data: manifest, counts by split, leaks between splits, and who opened the test labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.frames import StudyFrames

if TYPE_CHECKING:
    import polars as pl

KEY, TITLE = "data", "Data"
SPLITS = ("train", "dev", "test")


def frame(study: StudyFrames) -> pl.DataFrame:
    """One row per split: examples, groups, labels present, examples without a label, mean labels."""
    import polars as pl

    assert study.record.dataset is not None
    counts: dict[str, Any] = study.record.dataset.manifest["counts"]
    rows = [
        {
            "split": split, "examples": study.shown(own["examples"]), "groups": study.shown(own["groups"]),
            "labels present": study.shown(own["labels_present"]),
            "without a label": study.shown(own["without_labels"]), "mean labels": own["mean_labels"],
        }
        for split in SPLITS
        if (own := counts.get(split)) is not None
    ]  # fmt: skip
    return pl.DataFrame(rows)


def card(study: StudyFrames) -> Card:
    """What the study ran on."""
    dataset, fingerprint = study.record.dataset, str(study.record.identity.get("data_fingerprint", "unknown"))
    if dataset is None:
        return absent(
            KEY, TITLE,
            f"The prepared data set (fingerprint {fingerprint[:16]}…) is not where the study read it; its manifest "
            "cannot be shown.",
        )  # fmt: skip
    manifest = dataset.manifest
    examples = sum(own["examples"] for own in manifest["counts"].values())
    terms = "restricted: counts below 10 are not told" if study.restricted else "open"
    sentence = (
        f"{manifest['name']}: {examples:,} examples of {manifest['modality']} with {manifest['num_labels']:,} labels; "
        f"terms {terms}."
    )
    return Card(
        KEY, TITLE, sentence, frame(study), (), f"Fingerprint (SHA-256 of the content): {fingerprint}.",
        [*_lines(study), *_splits(study)], formats={"mean labels": ".2f"}, table=True,
    )  # fmt: skip


def _lines(study: StudyFrames) -> list[str]:
    assert study.record.dataset is not None
    manifest = study.record.dataset.manifest
    source = ", ".join(f"{name} {value}" for name, value in manifest["source"].items() if _plain(value))
    leaks = [
        f"{kind.replace('_', ' ')}: "
        + ", ".join(f"{pair} {study.shown(count)}" for pair, count in found.items())
        for kind, found in manifest["leakage"].items()
    ]
    return [f"source: {source}", f"split: {manifest['split_origin']}", *leaks, *manifest["notes"]]


def _plain(value: object) -> bool:
    """A word or number without a path of the machine."""
    return isinstance(value, int | float | bool) or (isinstance(value, str) and "/" not in value)


def _splits(study: StudyFrames) -> list[str]:
    """What cannot be done with these splits."""
    assert study.record.dataset is not None
    test = study.record.dataset.manifest["counts"].get("test")
    if test is None or test["examples"] == 0:
        return ["There is no test split: nothing can be said about new inputs."]
    if test["groups"] < 2:
        return ["The test split has one group: there can be no interval, and no verdict."]
    return []
