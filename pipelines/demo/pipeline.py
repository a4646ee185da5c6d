"""The data that comes with the project: synthetic discharge summaries and scenes of handwritten digits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines import coco, mimic
from pipelines.demo.notes import write_mimic
from pipelines.demo.scenes import write_coco
from pipelines.shared.runner import Progress
from sdl_study.data.disk import publish
from sdl_study.data.folders import temporary_folder
from sdl_study.data.prepared import PreparedData
from sdl_study.errors import UserError

NAMES = ("demo_mimic", "demo_coco")
GENERATOR_VERSION = 5  # 5: the same data as 4; the record of a preparation names the images too
SEED = 20_241_013


def prepare(name: str, out: Path, progress: Progress = print) -> Path:
    """Make the data set ``name`` ("demo_mimic" or "demo_coco") under ``out`` and return its folder.

    Raises:
        UserError: unknown name, or ``out`` cannot be written.
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
        if _stamp(record) == stamp:
            return False
    progress(f"demo: writing {folder}")
    with temporary_folder(folder) as partial:
        write(partial, SEED)
        (partial / "generated.json").write_text(json.dumps(stamp) + "\n")
        partial.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        publish(partial, folder)
    return True


def _stamp(record: Path) -> Any:
    try:
        return json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{record}: damaged: not JSON; remove {record.parent}") from None


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
