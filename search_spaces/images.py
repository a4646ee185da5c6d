"""Your own images, two ResNets trained from scratch: ``study images --set data.path=FOLDER --name NAME``."""

from __future__ import annotations

from sdl_study.config import BudgetSettings, DataSettings, TrainSettings
from sdl_study.space import choice
from search_spaces._common import six_arms

STUDY = six_arms(
    "Any prepared images.",
    encoders={
        "resnet_small": {"kind": "resnet", "widths": (16, 32, 64, 128), "groups": 8},
        "resnet_wide": {"kind": "resnet", "widths": (32, 64, 128, 256), "groups": 8},
    },
    of_encoders=(
        choice("model.encoders.resnet_small.groups", 4, 8, when={"model.encoder": "resnet_small"}),
        choice("model.encoders.resnet_wide.groups", 8, 16, when={"model.encoder": "resnet_wide"}),
    ),
    learning_rate=(5e-4, 1e-2),
    first={"train.learning_rate": 3e-3, "model.encoders.resnet_small.groups": 8},
    data=DataSettings(store={"image_size": 64}),
    train=TrainSettings(epochs=8, batch_size=64),
    budget=BudgetSettings(trials=6, final_seeds="auto", selection_seeds=2),
)
