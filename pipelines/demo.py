"""The data that comes with the project: synthetic discharge summaries and scenes of handwritten digits.

    python -m pipelines.demo OUT            raw files and both prepared data sets
    python -m pipelines.demo OUT --audit    also how hard each of them is

The raw files stand in the layout of MIMIC-IV and of MS-COCO and go through the same pipelines as the
real ones. Deterministic, made in seconds, and kept: a second call finds everything done.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from pipelines import coco, mimic
from pipelines.demo_notes import write_mimic
from pipelines.demo_scenes import write_coco
from pipelines.runner import Progress, main
from sdl_study.data.folders import temporary_folder
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError

NAMES = ("demo_mimic", "demo_coco")
GENERATOR_VERSION = 5  # 5: the same data as 4; the record of a preparation names the images too
SEED = 20_241_013


def prepare(name: str, out: Path, progress: Progress = print) -> Path:
    """Make the data set `name` ("demo_mimic" or "demo_coco") under `out` and return its folder.

    Raises:
        UserError: unknown name, or `out` cannot be written.
    """
    if name not in NAMES:
        raise UserError(f"unknown demo data set {name!r}; choose {' or '.join(NAMES)}")
    out = Path(out)
    raw = out / "raw" / ("mimic-iv" if name == "demo_mimic" else "coco")
    write = write_mimic if name == "demo_mimic" else write_coco
    target = out / "prepared" / name
    made = _raw(raw, write, progress)
    if made and target.exists():
        _remove_own(target)
    (_prepare_notes if name == "demo_mimic" else _prepare_scenes)(raw, target, progress)
    return target


def _raw(folder: Path, write: Callable[[Path, int], None], progress: Progress) -> bool:
    """Write the raw files unless this version's are there; True if they were written."""
    stamp = {"generator": "pipelines.demo", "version": GENERATOR_VERSION, "seed": SEED}
    record = folder / "generated.json"
    if folder.exists():
        if not record.is_file():
            raise UserError(f"{folder}: exists and was not made by pipelines.demo; name another folder")
        if json.loads(record.read_text()) == stamp:
            return False
    progress(f"demo: writing {folder}")
    with temporary_folder(folder) as partial:
        write(partial, SEED)
        (partial / "generated.json").write_text(json.dumps(stamp) + "\n")
        partial.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return True


def _remove_own(target: Path) -> None:
    if PreparedData.load(target).manifest.source.get("generator") != "pipelines.demo":
        raise UserError(f"{target}: was not made by pipelines.demo; name another folder")
    shutil.rmtree(target)


def _prepare_notes(raw: Path, target: Path, progress: Progress) -> None:
    options = mimic.Options("mimic-iv", "icd10", "full")
    source = {"generator": "pipelines.demo", "generator_version": GENERATOR_VERSION, "synthetic": True}
    mimic.prepare(raw, target, options, terms="open", extra_source=source, progress=progress)


def _prepare_scenes(raw: Path, target: Path, progress: Progress) -> None:
    annotations = raw / "annotations"
    coco.prepare(
        target,
        (raw / "train", annotations / "instances_train.json"),
        (raw / "val", annotations / "instances_val.json"),
        extra_source={"generator": "pipelines.demo", "generator_version": GENERATOR_VERSION},
        progress=progress,
    )


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
        from pipelines.demo_audit import audit

        for name in NAMES:
            audit(given.out / "prepared" / name, name, given.out / "stores", print)


if __name__ == "__main__":
    main(command)
