"""Counts of the published MIMIC data sets, to stand beside the counts found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.mimic.published_splits import TOP_50_FILE
from sdl_study.data.prepared import Manifest


@dataclass(frozen=True)
class PublishedCounts:
    """Documents and labels of a data set as published; None where a number is not published."""

    name: str
    splits: tuple[int, int, int]
    labels: int


# By (release, codes, labels, where the split comes from).
PUBLISHED: dict[tuple[str, str, str, str], PublishedCounts] = {
    ("mimic-iii", "icd9", "full", "ids"): PublishedCounts(
        "MIMIC-III-full (CAML)", (47_723, 1_631, 3_372), 8_921
    ),
    ("mimic-iii", "icd9", "full", "table"): PublishedCounts(
        "MIMIC-III-full (Edin)", (47_719, 1_631, 3_372), 8_929
    ),
    ("mimic-iii", "icd9", "top50", "ids"): PublishedCounts("MIMIC-III-50", (8_066, 1_573, 1_729), 50),
    ("mimic-iii", "icd9", "top50", "table"): PublishedCounts("MIMIC-III-50", (8_066, 1_573, 1_729), 50),
    ("mimic-iii", "icd9", "min10", "table"): PublishedCounts(
        "MIMIC-III-clean (Edin)", (38_401, 5_577, 8_734), 3_681
    ),
    ("mimic-iv", "icd9", "min10", "table"): PublishedCounts(
        "MIMIC-IV-icd9 (Edin)", (154_542, 21_980, 32_804), 6_150
    ),
    ("mimic-iv", "icd10", "min10", "table"): PublishedCounts(
        "MIMIC-IV-icd10 (Edin)", (89_099, 13_378, 19_802), 7_942
    ),
    ("mimic-iv", "icd9", "full", "ids"): PublishedCounts(
        "MIMIC-IV-ICD9-full (Nguyen)", (188_533, 7_110, 13_709), 11_331
    ),
    ("mimic-iv", "icd9", "top50", "ids"): PublishedCounts(
        "MIMIC-IV-ICD9-50 (Nguyen)", (170_664, 6_406, 12_405), 50
    ),
    ("mimic-iv", "icd10", "full", "ids"): PublishedCounts(
        "MIMIC-IV-ICD10-full (Nguyen)", (110_442, 4_017, 7_851), 26_096
    ),
    ("mimic-iv", "icd10", "top50", "ids"): PublishedCounts(
        "MIMIC-IV-ICD10-50 (Nguyen)", (104_077, 3_805, 7_368), 50
    ),
}


def compare_with_published(manifest: Manifest, split_is_published: bool) -> list[str]:
    """Lines with the counts found beside those published, and the patients that stand in two splits."""
    if not split_is_published:
        return [f"split: {manifest.split_origin}"]
    source = manifest.source
    key = (source["release"], source["codes"], source["labels"], source["split"])
    lines = []
    found = tuple(manifest.counts[split].examples for split in ("train", "dev", "test"))
    if (published := PUBLISHED.get(key)) is not None:
        lines.append(f"{'':<10}{'train':>10}{'dev':>10}{'test':>10}{'labels':>10}   {published.name}")
        rows = {"found": (*found, manifest.num_labels), "published": (*published.splits, published.labels)}
        for name, row in rows.items():
            lines.append(f"{name:<10}" + "".join(f"{value:>10,}" for value in row))
    shared = ", ".join(f"{pair} {count}" for pair, count in manifest.leakage["groups_in_two_splits"].items())
    lines.append(f"patients in two splits: {shared}")
    return lines


def compare_top_50(counted: Sequence[str], published: Sequence[str]) -> str:
    """One line about the 50 codes counted here beside those of a published list; dots are not compared."""
    found = {code.replace(".", ""): code for code in counted}
    others = sorted(set(published) - set(found))
    ours = sorted(code for bare, code in found.items() if bare not in set(published))
    if not others and not ours:
        return f"labels are those of {TOP_50_FILE} beside the id lists"
    return (
        f"labels differ from {TOP_50_FILE} beside the id lists: only counted here: "
        f"{', '.join(ours) or 'none'}; only in the list: {', '.join(others) or 'none'}"
    )
