"""What pretrained encoders have already read: results on the same texts are better than on new ones would be.

Sources: Lewis et al. 2020, Pretrained Language Models for Biomedical and Clinical Tasks (RoBERTa-base-PM-M3); Alsentzer
et al. 2019, arXiv 1904.03323 (Bio_ClinicalBERT); Li et al. 2022, arXiv 2201.11838 (Clinical-Longformer, -BigBird); Peng
et al. 2019, arXiv 1906.05474 (BlueBERT); Yang et al. 2022, arXiv 2203.03540 (GatorTron); Sounack et al. 2025, arXiv
2506.10896 (BioClinical ModernBERT); Lee et al. 2025, arXiv 2504.03964 (Clinical ModernBERT).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Names by which the encoders are known, in lower case and with "-" alone, and the sources that they were trained on.
_KNOWN = {
    "roberta-base-pm-m3": ("mimic-iii",),
    "roberta-large-pm-m3": ("mimic-iii",),
    "bio-clinicalbert": ("mimic-iii",),
    "bio-discharge-summary-bert": ("mimic-iii",),
    "clinical-longformer": ("mimic-iii",),
    "clinical-bigbird": ("mimic-iii",),
    "bluebert-pubmed-mimic": ("mimic-iii",),
    "gatortron": ("mimic-iii",),
    "bioclinical-modernbert": ("mimic-iii", "mimic-iv"),
    "clinical-modernbert": ("mimic-iv",),
}
_SAME_HOSPITAL = frozenset({"mimic-iii", "mimic-iv"})  # both hold the stays of 2008 to 2012


def overlap(encoder: Mapping[str, object], source: Mapping[str, object]) -> str | None:
    """What stands beside results of an encoder that has read the study's source before.

    Args:
        encoder: ``{"kind": ..., and that kind's settings}``; ``pretrained_on`` says it for an encoder that is not
            known by its name.
        source: a prepared data set's, as its manifest has it.

    Returns:
        A sentence; None where nothing of the kind is known, and for data that were generated.
    """
    holds = str(source.get("release") or source.get("pipeline") or "").lower()
    if not holds or "generator" in source:
        return None
    name = str(encoder.get("name") or encoder.get("kind") or "")
    seen = _seen(encoder, name)
    if holds in seen:
        return (
            f"encoder {name} was pretrained on {holds}, the source of these data, test examples very likely among it: "
            "its results say less about new data than those of an encoder that was not"
        )
    related = sorted(seen & _SAME_HOSPITAL) if holds in _SAME_HOSPITAL else []
    if related:
        return (
            f"encoder {name} was pretrained on {related[0]}, which shares patients with {holds}, the source of these "
            "data: its results may say less about new data than those of an encoder that was not"
        )
    return None


def _seen(encoder: Mapping[str, object], name: str) -> set[str]:
    given = encoder.get("pretrained_on") or ()
    told = (
        given.split(",") if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
    )
    if told:
        return {str(one).strip().lower() for one in told}
    plain = re.sub(r"[^a-z0-9]+", "-", name.rstrip("/").rpartition("/")[2].lower())
    found = [known for known in _KNOWN if known in plain]
    return set(_KNOWN[max(found, key=len)]) if found else set()
