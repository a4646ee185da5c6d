"""Demo: object labels on scenes of real handwritten digits in MS-COCO's file layout. Minutes on two CPU cores."""

from __future__ import annotations

from sdl_study.config import (
    BudgetSettings,
    DataSettings,
    ModelSettings,
    Settings,
    TrainSettings,
)
from sdl_study.space import SearchSpace, Study, choice
from search_spaces.common import (
    PUBLISHED_SD_WEIGHTED,
    PUBLISHED_TEMPERATURE,
    relation_parameters,
    shared_parameters,
)

STUDY = Study(
    name="demo_coco",
    about="Scenes of scikit-learn's handwritten digits, 10 labels, two small ResNets with GroupNorm.",
    space=SearchSpace(
        parameters=(
            *shared_parameters(("resnet_small", "resnet_wide"), learning_rate=(1e-3, 1e-2)),
            choice("model.encoders.resnet_small.groups", 4, 8, when={"model.encoder": "resnet_small"}),
            choice("model.encoders.resnet_wide.groups", 4, 12, when={"model.encoder": "resnet_wide"}),
            *relation_parameters(),
        ),
        published={
            "model.encoder": "resnet_small",
            "train.learning_rate": 3e-3,
            "loss.temperature": PUBLISHED_TEMPERATURE,
            "model.encoders.resnet_small.groups": 8,
            **PUBLISHED_SD_WEIGHTED,
        },
    ),
    settings=Settings(
        arms=("bce", "any", "all", "mulsupcon", "sd", "sd_weighted"),
        objective="dev/map",
        data=DataSettings(name="demo_coco", pipeline="pipelines.demo", store={"image_size": 32}),
        model=ModelSettings(
            encoder="resnet_small",
            encoders={
                "resnet_small": {"kind": "resnet", "widths": (16, 32, 64, 128), "groups": 8},
                "resnet_wide": {"kind": "resnet", "widths": (24, 48, 96, 192), "groups": 12},
            },
        ),
        train=TrainSettings(epochs=4, batch_size=64),
        budget=BudgetSettings(trials=4, final_seeds=1, selection_seeds=0),
    ),
)
