"""The published baseline, to be run before anything else: ``study anchor_mimic --data DIR``.

Binary cross-entropy alone on MIMIC-III's full code set in PLM-ICD's published configuration: its encoder, chunks of 128
tokens up to 3,072, batches of 8, 20 epochs, learning rate 5e-5 after a linear warm-up of 2,000 steps. Whoever gets
another micro-F1 than the paper's with CAML's split has a mistake in the data, or in this program, that would go through
every other result.

Nothing is searched, so its trial lasts one epoch; a final trains for all twenty with label attention and is scored by
that head. What is not PLM-ICD's: after the warm-up the rate falls by a cosine, theirs linearly, and padding has no part
in the attention.

Source: Huang, Tsai & Chen 2022, PLM-ICD, and the script that its repository gives for MIMIC-III-full.
"""

from __future__ import annotations

import math

from sdl_study.arms import BCE
from sdl_study.config import BudgetSettings, DataSettings, ModelSettings, Settings, TrainSettings
from sdl_study.space import SearchSpace, Study
from sdl_study.stages import FinetuneSettings
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
            epochs=1,
            batch_size=BATCH,
            learning_rate=5e-5,
            weight_decay=0.0,
            head_bias="random",
            warmup_fraction=WARMUP_STEPS / _STEPS,
            precision="bf16",
            trials_per_group=1,
        ),
        stages=("probe", "finetune"),
        stage="finetune",
        finetune=FinetuneSettings(epochs=EPOCHS - 1, batch_size=BATCH, head="label_attention"),
        budget=BudgetSettings(trials=1, final_seeds=3),
    ),
    expects=MIMIC_III_FULL,
    published=(
        "PLM-ICD as published on MIMIC-III-full, CAML's split, with label attention:",
        "micro-F1 .598, macro-F1 (CAML) .104, micro-AUC .989, macro-AUC .926, precision at 8 .771, at 15 .613",
    ),
)
