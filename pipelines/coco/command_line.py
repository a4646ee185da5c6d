"""MS-COCO's 2014 and 2017 instances, or anything in that layout, → prepared data set of images and labels.

    python -m pipelines.coco OUT --train-images DIR --train-annotations FILE
        --test-images DIR --test-annotations FILE [--keep-unlabelled]

The published validation images are the test split, as in the literature; a dev split is held out of
train by a hash of the file name. A label stands for any annotation of its category, crowds included.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.coco.pipeline import prepare


def command(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.coco", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("out", type=Path, help="folder of the prepared data set, must be new")
    parser.add_argument("--train-images", type=Path, required=True, help="folder like train2017/")
    parser.add_argument("--train-annotations", type=Path, required=True, help="instances_train2017.json")
    parser.add_argument("--test-images", type=Path, required=True, help="folder like val2017/")
    parser.add_argument("--test-annotations", type=Path, required=True, help="instances_val2017.json")
    parser.add_argument("--keep-unlabelled", action="store_true", help="keep images without annotations")
    parser.add_argument(
        "--terms", default="open", choices=["open", "restricted"],
        help="restricted for images of your own that must not leave the study's folder (default: open, as MS-COCO)",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    prepare(
        given.out,
        (given.train_images, given.train_annotations),
        (given.test_images, given.test_annotations),
        keep_unlabelled=given.keep_unlabelled,
        terms=given.terms,
    )
