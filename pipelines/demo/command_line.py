"""The data that comes with the project: synthetic discharge summaries and scenes of handwritten digits.

    python -m pipelines.demo OUT            raw files and both prepared data sets
    python -m pipelines.demo OUT --audit    also how hard each of them is

The raw files stand in the layout of MIMIC-IV and of MS-COCO and go through the same pipelines as the
real ones. Deterministic, made in seconds, and kept: a second call finds everything done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.demo.pipeline import NAMES, prepare


def command(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.demo", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "out", type=Path, nargs="?", default=Path("studies/data"), help="folder for raw/ and prepared/"
    )
    parser.add_argument("--audit", action="store_true", help="print what simple methods reach on dev")
    given = parser.parse_args(arguments)
    for name in NAMES:
        prepare(name, given.out)
    if given.audit:
        # Torch and the encoders are needed for this alone.
        from pipelines.demo.audit import audit

        for name in NAMES:
            audit(given.out / "prepared" / name, name, given.out / "stores", print)
