"""Which encoders have read a study's source before."""

from __future__ import annotations

from typing import Any

import pytest

from sdl_study.errors import UserError
from sdl_study.models import overlap, parse_encoder_settings

III = {"pipeline": "mimic", "release": "mimic-iii"}
IV = {"pipeline": "mimic", "release": "mimic-iv"}
COCO = {"pipeline": "coco"}


def hub(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "hub", "name": name} | more


SAME, RELATED = "the source of these data, test examples very likely among it", "which shares patients with"


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("/models/RoBERTa-base-PM-M3-Voc-distill-align-hf/", III, SAME),
        ("emilyalsentzer/Bio_ClinicalBERT", III, SAME),
        ("emilyalsentzer/Bio_ClinicalBERT", IV, RELATED),
        ("thomas-sounack/BioClinical-ModernBERT-base", III, SAME),
        ("thomas-sounack/BioClinical-ModernBERT-large", IV, SAME),
        ("Simonlee711/Clinical_ModernBERT", III, RELATED),
        ("Simonlee711/Clinical_ModernBERT", IV, SAME),
        ("yikuan8/Clinical-Longformer", III, SAME),
        ("UFNLP/gatortron-base", III, SAME),
        ("bionlp/bluebert_pubmed_mimic_uncased_L-12_H-768_A-12", III, SAME),
        ("bionlp/bluebert_pubmed_uncased_L-12_H-768_A-12", III, None),
        ("answerdotai/ModernBERT-base", III, None),
        ("minilm", III, None),
        ("emilyalsentzer/Bio_ClinicalBERT", COCO, None),
        ("emilyalsentzer/Bio_ClinicalBERT", {"pipeline": "table"}, None),
        ("emilyalsentzer/Bio_ClinicalBERT", {}, None),
    ],
)
def test_known_names(name: str, source: dict[str, Any], words: str | None) -> None:
    found = overlap(hub(name), source)
    assert (found is None) == (words is None)
    if words is not None and found is not None:
        assert words in found
        assert name in found
        assert "\n" not in found


def test_generated_notes_were_read_by_nobody() -> None:
    source = III | {"generator": "pipelines.demo"}
    assert overlap(hub("emilyalsentzer/Bio_ClinicalBERT"), source) is None


def test_what_the_settings_say_counts_first() -> None:
    assert SAME in str(overlap(hub("ours", pretrained_on=("coco",)), COCO))
    assert SAME in str(overlap(hub("ours", pretrained_on="MIMIC-III, other"), III))
    assert overlap(hub("emilyalsentzer/Bio_ClinicalBERT", pretrained_on=["other"]), III) is None
    assert overlap({"kind": "conv", "width": 8}, III) is None


def test_the_setting_is_a_list_of_names() -> None:
    for given in (("mimic-iii", "coco"), ["mimic-iii", "coco"], "mimic-iii, coco"):
        settings = parse_encoder_settings("hub", {"name": "ours", "pretrained_on": given})
        assert settings.model_dump()["pretrained_on"] == ("mimic-iii", "coco")
    with pytest.raises(UserError, match="'pretrained_on' of encoder 'hub'"):
        parse_encoder_settings("hub", {"name": "ours", "pretrained_on": 3})
