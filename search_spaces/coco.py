"""Object labels of MS-COCO's photographs at 224 pixels: ``study coco --data DIR --dry-run``, then without it.

DIR is what ``python -m pipelines.coco`` prepared. Three encoders, each with the size and normalisation that it was
trained with: ResNet-50 and ViT-B/16 of ImageNet, and DINOv2-B, which never saw a label. Their learning rates lie far
apart, so each has its own range. What it costs is computed: ``--dry-run`` prints it.
"""

from __future__ import annotations

from sdl_study.config import BudgetSettings, DataSettings, ProjectionSettings, TrainSettings
from sdl_study.data.sizes import DataSizes
from search_spaces._common import six_arms

# The images of 2014 with an annotation, as in the field's tables; a tenth of train is dev (``pipelines.coco``).
ANNOTATED_TRAIN, ANNOTATED_VAL, CATEGORIES = 82_081, 40_137, 80
_DEV = ANNOTATED_TRAIN // 10

STUDY = six_arms(
    "Object labels of MS-COCO's photographs with pretrained encoders.",
    encoders={
        "resnet50": {"kind": "hub", "name": "microsoft/resnet-50", "norm": "frozen", "image_size": 224},
        "vit_b16": {"kind": "hub", "name": "google/vit-base-patch16-224-in21k", "image_size": 224},
        "dinov2_b": {"kind": "hub", "name": "facebook/dinov2-base", "image_size": 224},
    },
    of_encoders=(),
    learning_rate={"resnet50": (3e-5, 3e-3), "vit_b16": (1e-5, 3e-4), "dinov2_b": (3e-6, 1e-4)},
    temperature=(0.03, 1.0),
    batch_sizes=(64, 128, 256),
    first={"model.encoders.resnet50.learning_rate": 3e-4, "train.batch_size": 128},
    data=DataSettings(name="coco"),
    train=TrainSettings(
        epochs=16, batch_size=128, weight_decay=0.01, gradient_clip=1.0, precision="bf16", trials_per_group=1
    ),
    # The first rung lies after two epochs: 578 steps at the largest batch, more than twice the warm-up.
    budget=BudgetSettings(
        trials=20, reduction_factor=2, first_rung=2, final_seeds=5, selection_seeds=2, selection_top=2
    ),
    projection=ProjectionSettings(hidden=1_024, features=128),
    expects=DataSizes(
        "MS-COCO 2014, annotated images", "image", ANNOTATED_TRAIN - _DEV, _DEV, ANNOTATED_VAL, CATEGORIES
    ),
)
