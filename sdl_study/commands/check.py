"""look at a prepared data set"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``check data PATH``."""
    parser.add_argument("what", choices=["data"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--batch-size", type=int, default=64, help="global batch size of the relation mix")


def run(given: argparse.Namespace) -> None:
    """Print counts, relations, valid anchors and leaks of a prepared data set."""
    from sdl_study.config import Settings
    from sdl_study.data.check import describe
    from sdl_study.data.prepared import PreparedData

    least = Settings.model_fields["objective_min_positives"].default
    print(describe(PreparedData.load(given.path), given.batch_size, least))
