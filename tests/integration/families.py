"""Data sets of texts, images and features, and small pretrained models of several families that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from sdl_study.config import BudgetSettings, DataSettings, ModelSettings, Settings, TrainSettings
from sdl_study.data.image_files import image_digest
from sdl_study.data.writer import Preparation, write_prepared
from sdl_study.files import write_json
from sdl_study.space import SearchSpace, Study, choice, log_uniform
from tests.integration.tiny import LABELS, tiny_data
from tests.unit.models import published
from tests.unit.study.fakes import arms_named

SIZES = {"train": 96, "dev": 40, "test": 40}
SIDE = 64
WORDS = [f"sign{label}x{form}" for label in range(LABELS) for form in range(3)]
WORDS += [f"noise{number}" for number in range(40)]
_TEXT: dict[str, Any] = {"num_hidden_layers": 2, "max_position_embeddings": 40}


def text_models(root: Path) -> dict[str, dict[str, Any]]:
    """Encoders of texts, each with a tokenizer of its own: other ids, other words, another padding."""
    specials = published.SPECIALS
    lists = {
        "bert": [*specials, *WORDS],
        "roberta": [*specials, *reversed(WORDS[:-20])],
        "llama": [*reversed(specials), *WORDS],
    }
    sizes = {
        "bert": _TEXT,
        "roberta": _TEXT | {"pad_token_id": 0, "hidden_size": 24},
        "llama": _TEXT | {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 4},
    }
    for name, words in lists.items():
        folder = published.model(root / name, name, **sizes[name] | {"vocab_size": len(words)})
        published.tokenizer(folder, words)
    settings = {
        "bert": {"max_length": 24},
        "roberta": {"max_length": 16, "pooling": "cls"},
        "llama": {"max_length": 24, "pooling": "last", "lora_rank": 2},
    }
    return {name: {"kind": "hub", "name": str(root / name), **settings[name]} for name in lists}


def image_models(root: Path) -> dict[str, dict[str, Any]]:
    """Encoders of images of two sizes, normalised and cut in two ways."""
    stages = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "embedding_size": 8}
    vit = published.model(root / "vit", "vit", image_size=32, patch_size=8, num_channels=3)
    resnet = published.model(root / "resnet", "resnet", image_size=48, layer_type="basic", **stages)
    square = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    cut = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 48}, "crop_pct": 0.875}
    ours = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    theirs = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3}
    write_json(vit / "preprocessor_config.json", square | ours)
    write_json(resnet / "preprocessor_config.json", cut | theirs)
    norms: dict[str, dict[str, Any]] = {"vit": {}, "resnet": {"norm": "sync"}}
    return {name: {"kind": "hub", "name": str(root / name), **norm} for name, norm in norms.items()}


def texts(out: Path) -> Path:
    """The texts of the tiny study."""
    return tiny_data(out)


def images(out: Path) -> Path:
    """Smooth images in which every label has a place that its examples show brighter."""
    rng = np.random.default_rng(5)
    folder, frames, labels = out / "files", [], []
    folder.mkdir(parents=True)
    for number in range(sum(SIZES.values())):
        own = sorted(rng.choice(4, size=rng.integers(1, 3), replace=False).tolist())
        coarse = rng.integers(40, 120, (4, 4, 3), dtype=np.uint8)
        for label in own:
            coarse[label // 2 * 2 : label // 2 * 2 + 2, label % 2 * 2 : label % 2 * 2 + 2] += 100
        made = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        made.save(folder / f"{number}.png")
        digest = image_digest((folder / f"{number}.png").read_bytes())
        frames.append({"image": f"files/{number}.png", "image_digest": digest})
        labels.append(own)
    return _written(out / "images", "image", labels, [pl.DataFrame(frames)], roots={"files": folder})


def features(out: Path) -> Path:
    """Rows of numbers, of which each label moves one."""
    rng = np.random.default_rng(6)
    count = sum(SIZES.values())
    labels = [sorted(rng.choice(4, size=rng.integers(1, 3), replace=False).tolist()) for _ in range(count)]
    values = rng.normal(size=(count, 12)).astype(np.float32)
    for row, own in enumerate(labels):
        values[row, own] += 2.0
    return _written(out / "features", "features", labels, [], features=values)


def _written(out: Path, modality: Any, labels: list[list[int]], chunks: Any, **more: Any) -> Path:
    names = [f"row {number}" for number in range(len(labels))]
    index = pl.DataFrame(
        {
            "source_id": names,
            "source_group": names,
            "split": [split for split, size in SIZES.items() for _ in range(size)],
            "labels": labels,
        },
        schema_overrides={"labels": pl.List(pl.Int32)},
    )
    codes = ["a", "b", "c", "d"]
    made = Preparation(
        "made", modality, "open", index, codes, codes, "by hand", {"pipeline": "tests"}, **more
    )
    write_prepared(out, made, chunks)
    return out


def study_of(data: Path, encoders: dict[str, dict[str, Any]], **train: Any) -> Study:
    """A search over the encoders: each arm has one trial, its first setting, with an encoder of its own."""
    arms = arms_named(*("bce", "any", "sd")[: max(2, len(encoders))])
    first: dict[str, Any] = {"model.encoder": next(iter(encoders)), "train.learning_rate": 3e-3}
    return Study(
        arms=arms,
        method=arms[-1].name,
        space=SearchSpace(
            (choice("model.encoder", *encoders), log_uniform("train.learning_rate", 1e-3, 1e-2)),
            first,
            {arm.name: {"model.encoder": encoder} for arm, encoder in zip(arms, encoders, strict=False)},
        ),
        settings=Settings(
            data=DataSettings(path=str(data)),
            model=ModelSettings(encoder=next(iter(encoders)), encoders=encoders),
            train=TrainSettings(**{"epochs": 2, "batch_size": 32, **train}),
            budget=BudgetSettings(trials=1),
            controls=(),
        ),
    )
