"""Demo: ICD coding of synthetic discharge summaries in MIMIC-IV's file layout. Minutes on two CPU cores."""

from __future__ import annotations

from sdl_study.config import (
    BudgetSettings,
    DataSettings,
    ModelSettings,
    Settings,
    TrainSettings,
)
from sdl_study.space import SearchSpace, Study, choice, uniform
from search_spaces.common import (
    PUBLISHED_SD_WEIGHTED,
    PUBLISHED_TEMPERATURE,
    relation_parameters,
    shared_parameters,
)

STUDY = Study(
    name="demo_mimic",
    about="Synthetic discharge summaries, 40 ICD-10 codes, two small text encoders.",
    space=SearchSpace(
        parameters=(
            *shared_parameters(("conv", "bert"), learning_rate=(1e-3, 1e-2)),
            choice("model.encoders.conv.kernel", 3, 5, when={"model.encoder": "conv"}),
            uniform("model.encoders.bert.dropout", 0.0, 0.2, when={"model.encoder": "bert"}),
            *relation_parameters(),
        ),
        published={
            "model.encoder": "conv",
            "train.learning_rate": 5e-3,
            "loss.temperature": PUBLISHED_TEMPERATURE,
            "model.encoders.conv.kernel": 5,
            **PUBLISHED_SD_WEIGHTED,
        },
    ),
    settings=Settings(
        arms=("bce", "any", "all", "mulsupcon", "sd", "sd_weighted"),
        objective="dev/map",
        data=DataSettings(name="demo_mimic", pipeline="pipelines.demo", store={"max_length": 64}),
        model=ModelSettings(
            encoder="conv",
            encoders={
                "conv": {"kind": "conv", "width": 64, "kernel": 5},
                "bert": {"kind": "bert", "width": 64, "layers": 1, "heads": 4, "dropout": 0.1},
            },
        ),
        train=TrainSettings(epochs=4, batch_size=64),
        budget=BudgetSettings(trials=4, final_seeds=1, selection_seeds=0),
    ),
)
