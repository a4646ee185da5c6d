"""Your own numeric features, two perceptrons: ``study features --set data.path=FOLDER --name NAME``.

Small tables are what this is made for: every trial sees 60,000 examples at least, however few rows there are, wide
perceptrons are held in check by dropout, and the batch is searched, since a supervised arm wants updates and a
contrastive one candidates. The control ``raw`` (a logistic regression on the features) is what an arm has to beat.
"""

from __future__ import annotations

from sdl_study.config import BudgetSettings, DataSettings, TrainSettings
from sdl_study.space import uniform
from search_spaces._common import six_arms

STUDY = six_arms(
    "Any prepared table of numbers.",
    encoders={
        "mlp_deep": {"kind": "mlp", "width": 512, "layers": 2},
        "mlp_flat": {"kind": "mlp", "width": 1024, "layers": 1},
    },
    of_encoders=(
        uniform("model.encoders.mlp_deep.dropout", 0.1, 0.7, when={"model.encoder": "mlp_deep"}),
        uniform("model.encoders.mlp_flat.dropout", 0.1, 0.7, when={"model.encoder": "mlp_flat"}),
    ),
    learning_rate=(2e-4, 3e-3),
    temperature=(0.05, 1.0),
    batch_sizes=(32, 64, 128, 256),
    first={"train.learning_rate": 1e-3, "model.encoders.mlp_deep.dropout": 0.5, "train.batch_size": 128},
    data=DataSettings(),
    # A step of a perceptron is shorter than the talk of two workers about it: one worker, and more trials at a time.
    train=TrainSettings(epochs=8, min_examples=60_000, workers=1),
    budget=BudgetSettings(trials=10, first_rung="auto", final_seeds="auto", selection_seeds=2),
)
