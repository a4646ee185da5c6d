"""Demo: object labels on scenes of real handwritten digits in MS-COCO's file layout. Minutes on two CPU cores."""

from __future__ import annotations

from sdl_study.config import BudgetSettings, DataSettings, TrainSettings
from sdl_study.data.sizes import DataSizes
from sdl_study.space import choice
from sdl_study.stages import ProbeSettings
from search_spaces._common import DEMO_ARMS, six_arms

STUDY = six_arms(
    "Scenes of scikit-learn's handwritten digits, 10 labels, two small ResNets with GroupNorm.",
    encoders={
        "resnet_small": {"kind": "resnet", "widths": (16, 32, 64, 128), "groups": 8},
        "resnet_tiny": {"kind": "resnet", "widths": (8, 16, 32, 64), "groups": 8},
    },
    of_encoders=(
        choice("model.encoders.resnet_small.groups", 4, 8, when={"model.encoder": "resnet_small"}),
        choice("model.encoders.resnet_tiny.groups", 4, 8, when={"model.encoder": "resnet_tiny"}),
    ),
    learning_rate=(5e-3, 2e-2),
    first={"train.learning_rate": 1e-2, "model.encoders.resnet_small.groups": 8},
    data=DataSettings(name="demo_coco", pipeline="pipelines.demo", store={"image_size": 32}),
    # So many epochs that all arms have converged: a comparison before that is one of their speed. One worker a trial,
    # and two trials at a time: a step of so small a network is shorter than the talk of two workers about it.
    train=TrainSettings(epochs=16, batch_size=64, workers=1),
    budget=BudgetSettings(trials=4, first_rung=4, final_seeds=1, selection_seeds=0),
    arms=DEMO_ARMS,
    probe=ProbeSettings(max_rows=2_000),  # in trials; finals are scored with a probe on all
    expects=DataSizes("the scenes of digits", "image", train=3_991, dev=459, test=500, labels=10),
)
