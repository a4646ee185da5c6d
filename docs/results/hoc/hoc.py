"""The published study on Hallmarks of Cancer: all eight arms on 1,852 PubMed abstracts, ten labels.

``python -m sdl_study.run study docs/results/hoc/hoc.py --data FOLDER``, with the abstracts prepared as
``tests/benchmarks/real_data.py`` does (its split, ``prepare_hoc``). The space was that of ``search_spaces/text.py``:
MiniLM with its published weights, whose embeddings and four lowest of six layers stay as they are. What differs: two
arms more, half precision, the mean over labels as objective and as what is compared, one repeat of the best trials,
and five final seeds, so that there is an A/A arm; six trials share a GPU.

Committed before it ran; ``selection_split`` was named afterwards: there was no other way then. The verdict is about sd
against the best on dev of the other arms, by test mAP (linear probe).
"""

from __future__ import annotations

from sdl_study.arms import ALL, ANY, ASL, BCE, JACCARD, MULSUPCON, SD, SD_WEIGHTED
from search_spaces._common import six_arms
from search_spaces.text import STUDY as TEXT

_SETTINGS = TEXT.settings
STUDY = six_arms(
    "Hallmarks of Cancer, eight arms.",
    encoders=_SETTINGS.model.encoders,
    of_encoders=(),
    learning_rate={"minilm": (5e-5, 5e-4)},
    temperature=(0.05, 1.0),
    batch_sizes=(32, 64),
    first={"model.encoders.minilm.learning_rate": 2e-4, "train.batch_size": 64},
    data=_SETTINGS.data,
    train=_SETTINGS.train.model_copy(update={"precision": "bf16", "trials_per_gpu": 6}),
    budget=_SETTINGS.budget.model_copy(
        update={"trials": 4, "final_seeds": 5, "selection_seeds": 1, "selection_split": "kept"}
    ),
    projection=_SETTINGS.model.projection,
    objective="dev/map",
    primary_metric="test/map",
    arms=(BCE, ASL, ANY, ALL, MULSUPCON, JACCARD, SD, SD_WEIGHTED),
)
