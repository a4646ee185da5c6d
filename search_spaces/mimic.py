"""ICD coding of MIMIC's discharge summaries, any code set: ``study mimic --data DIR --dry-run``, then without it.

DIR is what ``python -m pipelines.mimic`` prepared; the study does not care for the code set. What it costs, and where
it fits, is computed: ``--dry-run`` prints it, with the counts of MIMIC-III's full set where no data are given.

Three encoders, each read by its own tokenizer, up to 3,072 tokens of a note:

- ``roberta_pm``: the encoder of PLM-ICD (Huang et al. 2022), RoBERTa-base pretrained on PubMed, PMC and MIMIC-III
  (Lewis et al. 2020), in chunks of 128. It is no model of the hub: unpack Facebook Research's archive (repository
  bio-lm), save it once with ``AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)`` so that the weights are
  safetensors, and give the folder: ``--set model.encoders.roberta_pm.name=FOLDER``.
- ``bioclinical_modernbert``: reads the note in one piece. It was pretrained on MIMIC too.
- ``llama_lora``: Llama 3.2 of 1B parameters (gated: accept its licence on the hub) with low-rank adapters.

Encoders of their own learning rates have their own ranges; a smaller study names one encoder,
``--set model.encoder=roberta_pm``, or fewer arms, ``--set "arms=('bce', 'any', 'sd')"``.
"""

from __future__ import annotations

from pipelines.mimic.published_counts import PUBLISHED
from sdl_study.config import BudgetSettings, DataSettings, ProjectionSettings, TrainSettings
from sdl_study.data.sizes import DataSizes
from sdl_study.space import choice
from search_spaces._common import six_arms

_FULL = PUBLISHED["mimic-iii", "icd9", "full", "ids"]
MIMIC_III_FULL = DataSizes(_FULL.name, "text", *_FULL.splits, labels=_FULL.labels)
SEEN = ("mimic-iii",)
ROBERTA_PM = {
    "kind": "hub",
    "name": "RoBERTa-base-PM-M3-Voc-distill-align-hf",
    "max_length": 128,
    "max_chunks": 24,
    "pooling": "mean",
    "pretrained_on": SEEN,
}

STUDY = six_arms(
    "ICD coding of MIMIC's discharge summaries with pretrained encoders.",
    encoders={
        "roberta_pm": ROBERTA_PM,
        "bioclinical_modernbert": {
            "kind": "hub",
            "name": "thomas-sounack/BioClinical-ModernBERT-base",
            "max_length": 3_072,
            "pooling": "mean",
            "pretrained_on": ("mimic-iii", "mimic-iv"),
        },
        "llama_lora": {
            "kind": "hub",
            "name": "meta-llama/Llama-3.2-1B",
            "max_length": 3_072,
            "pooling": "last",
            "lora_rank": 16,
            "lora_alpha": 32,
            "checkpointing": True,
        },
    },
    of_encoders=(
        choice("model.encoders.llama_lora.lora_rank", 8, 16, 32, when={"model.encoder": "llama_lora"}),
    ),
    learning_rate={
        "roberta_pm": (1e-5, 2e-4),
        "bioclinical_modernbert": (1e-5, 3e-4),
        "llama_lora": (3e-5, 1e-3),
    },
    temperature=(0.03, 1.0),
    batch_sizes=(32, 64, 128),
    first={"model.encoders.roberta_pm.learning_rate": 5e-5, "train.batch_size": 64},
    data=DataSettings(name="mimic"),
    train=TrainSettings(
        epochs=10, batch_size=64, weight_decay=0.01, gradient_clip=1.0, precision="bf16", trials_per_group=1
    ),
    # The first rung lies after two epochs: 745 steps at the largest batch, four times the warm-up.
    budget=BudgetSettings(
        trials=20, reduction_factor=3, first_rung=2, final_seeds=5, selection_seeds=2, selection_top=2
    ),
    objective="dev/map_document",
    primary_metric="test/map_document",
    projection=ProjectionSettings(hidden=768, features=128),
    expects=MIMIC_III_FULL,
)
