"""Your own texts, two encoders trained from scratch: ``study text_scratch --data FOLDER --name NAME``.

For texts that no published encoder has read the like of: codes, logs, sequences of anything.
"""

from __future__ import annotations

from sdl_study.config import BudgetSettings, DataSettings, TrainSettings
from sdl_study.space import choice, uniform
from search_spaces._common import six_arms

STUDY = six_arms(
    "Any prepared texts, from scratch.",
    encoders={
        "conv": {"kind": "conv", "width": 128, "kernel": 5},
        "bert": {"kind": "bert", "width": 128, "layers": 2, "heads": 4, "dropout": 0.1},
    },
    of_encoders=(
        choice("model.encoders.conv.kernel", 3, 5, when={"model.encoder": "conv"}),
        uniform("model.encoders.bert.dropout", 0.0, 0.2, when={"model.encoder": "bert"}),
    ),
    learning_rate=(5e-4, 1e-2),
    first={"train.learning_rate": 3e-3, "model.encoders.conv.kernel": 5},
    data=DataSettings(store={"max_length": 256}),
    # 1,000 rows are passed over until they made 1,500 updates; from 12,000 rows on it is eight epochs.
    train=TrainSettings(epochs=8, min_examples=96_000, batch_size=64),
    budget=BudgetSettings(trials=6, first_rung="auto", final_seeds="auto", selection_seeds=2),
    objective="dev/map_document",
    primary_metric="test/map_document",
)
