"""The published baseline, to be run before anything else: ``study anchor_mimic --data DIR``.

Binary cross-entropy alone on MIMIC-III's full code set in PLM-ICD's published configuration: its encoder, chunks of 128
tokens up to 3,072, batches of 8, 20 epochs, learning rate 5e-5 after a linear warm-up of 2,000 steps. Whoever gets
another micro-F1 than the paper's with CAML's split has a mistake in the data, or in this program, that would go through
every other result.

What is not PLM-ICD's: the head. Label attention is not built yet, so tokens are pooled by their mean and a linear probe
on the encoder is scored: expect a result below the published one until there is such a head. After the warm-up the
rate falls by a cosine, theirs linearly.

Source: Huang, Tsai & Chen 2022, PLM-ICD, and the script that its repository gives for MIMIC-III-full.
"""

from __future__ import annotations

import math

from sdl_study.arms import BCE
from sdl_study.config import BudgetSettings, DataSettings, ModelSettings, Settings, TrainSettings
from sdl_study.space import SearchSpace, Study
from search_spaces.mimic import MIMIC_III_FULL, ROBERTA_PM

EPOCHS, BATCH, WARMUP_STEPS = 20, 8, 2_000
_STEPS = EPOCHS * math.ceil(MIMIC_III_FULL.train / BATCH)

STUDY = Study(
    about="Binary cross-entropy in PLM-ICD's published configuration on MIMIC-III-full.",
    arms=(BCE,),
    space=SearchSpace(()),
    settings=Settings(
        objective="dev/micro_f1",
        primary_metric="test/micro_f1",
        data=DataSettings(name="mimic"),
        model=ModelSettings(encoder="roberta_pm", encoders={"roberta_pm": ROBERTA_PM}),
        train=TrainSettings(
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=5e-5,
            weight_decay=0.0,
            warmup_fraction=WARMUP_STEPS / _STEPS,
            precision="bf16",
            trials_per_group=1,
        ),
        budget=BudgetSettings(trials=1, first_rung=EPOCHS, final_seeds=3),
    ),
    expects=MIMIC_III_FULL,
    published=(
        "PLM-ICD as published on MIMIC-III-full, CAML's split, with label attention:",
        "micro-F1 .598, macro-F1 (CAML) .104, micro-AUC .989, macro-AUC .926, precision at 8 .771, at 15 .613",
        "this study's head is a linear probe on mean-pooled tokens, not label attention: expect less",
    ),
)
