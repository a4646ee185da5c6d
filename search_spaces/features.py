"""Your own numeric features, two perceptrons: ``study features --set data.path=FOLDER --name NAME``."""

from __future__ import annotations

from sdl_study.config import BudgetSettings, DataSettings, TrainSettings
from sdl_study.space import uniform
from search_spaces._common import six_arms

STUDY = six_arms(
    "Any prepared table of numbers.",
    encoders={
        "mlp_small": {"kind": "mlp", "width": 64, "layers": 2},
        "mlp_wide": {"kind": "mlp", "width": 256, "layers": 2},
    },
    of_encoders=(
        uniform("model.encoders.mlp_small.dropout", 0.0, 0.3, when={"model.encoder": "mlp_small"}),
        uniform("model.encoders.mlp_wide.dropout", 0.0, 0.5, when={"model.encoder": "mlp_wide"}),
    ),
    learning_rate=(5e-4, 1e-2),
    first={"train.learning_rate": 3e-3, "model.encoders.mlp_small.dropout": 0.0},
    data=DataSettings(),
    train=TrainSettings(epochs=8, batch_size=64),
    budget=BudgetSettings(trials=6, final_seeds=3, selection_seeds=1),
)
