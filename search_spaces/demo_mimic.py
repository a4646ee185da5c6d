"""Demo: ICD coding of synthetic discharge summaries in MIMIC-IV's file layout. Minutes on two CPU cores."""

from __future__ import annotations

from sdl_study.config import BudgetSettings, DataSettings, TrainSettings
from sdl_study.data.sizes import DataSizes
from sdl_study.space import choice, uniform
from sdl_study.stages import ProbeSettings
from search_spaces._common import DEMO_ARMS, six_arms

STUDY = six_arms(
    "Synthetic discharge summaries, 40 ICD-10 codes, two small text encoders.",
    encoders={
        "conv": {"kind": "conv", "width": 64, "kernel": 5},
        "bert": {"kind": "bert", "width": 64, "layers": 1, "heads": 2, "intermediate": 128},
    },
    of_encoders=(
        choice("model.encoders.conv.kernel", 3, 5, when={"model.encoder": "conv"}),
        uniform("model.encoders.bert.dropout", 0.0, 0.2, when={"model.encoder": "bert"}),
    ),
    learning_rate=(2e-2, 1e-1),
    first={"train.learning_rate": 6e-2, "model.encoders.conv.kernel": 5},
    data=DataSettings(name="demo_mimic", pipeline="pipelines.demo", store={"max_length": 64}),
    # So many epochs that all arms have converged: a comparison before that is one of their speed. One worker a trial,
    # and two trials at a time: a step of so small a network is shorter than the talk of two workers about it.
    train=TrainSettings(epochs=10, batch_size=64, workers=1),
    budget=BudgetSettings(trials=4, first_rung=5, final_seeds=1, selection_seeds=0),
    arms=DEMO_ARMS,
    probe=ProbeSettings(max_rows=2_000),  # in trials; finals are scored with a probe on all
    objective="dev/map_document",
    primary_metric="test/map_document",
    expects=DataSizes("the synthetic notes", "text", train=8_103, dev=950, test=947, labels=40),
)
