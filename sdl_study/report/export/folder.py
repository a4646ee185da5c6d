"""A folder to hand out: encoder, tokenizer or image processor, probe or head, labels, a card and a script that scores.

Everything is copied from what a final left; nothing is computed, so neither torch nor a network is needed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import sdl_study
from sdl_study.data.disk import publish
from sdl_study.errors import UserError
from sdl_study.files import read_json, write_json, write_text
from sdl_study.input_spec import INPUTS_FILE
from sdl_study.own_modules import ROOT
from sdl_study.record.files import PROJECTION_FILE
from sdl_study.references import is_file
from sdl_study.report.export.card import card_text
from sdl_study.report.export.places import ENCODER_FILE, own_module, rewritten
from sdl_study.report.export.source import Source
from sdl_study.report.page.frames import StudyFrames

FORMAT_VERSION = 1
_SCRIPT = Path(sdl_study.__file__).parent / "models" / "predict.py"
_TERMS = ROOT / "DATA_TERMS.md"


def write_export(source: Source, out: Path) -> None:
    """Write the folder, whole or not at all; of restricted data it is its owner's alone.

    Args:
        source: what is exported.
        out: a folder that is not there yet.

    Raises:
        UserError: it is there, it cannot be written, or the data set with the labels' names is gone.
    """
    if out.exists():
        raise UserError(f"{out}: is there already; name a folder that is not")
    labels = _labels(source)
    partial: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        _fill(partial, source, labels)
        _open_to(partial, everybody=not source.chosen.record.restricted)
        publish(partial, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _open_to(folder: Path, *, everybody: bool) -> None:
    """Who may read what was copied, whatever the modes of the originals."""
    folder.chmod(0o755 if everybody else 0o700)
    for file in folder.iterdir():
        file.chmod(0o644 if everybody else 0o600)


def _fill(folder: Path, source: Source, labels: list[dict[str, Any]]) -> None:
    shutil.copytree(source.encoder, folder, dirs_exist_ok=True)
    encoder, inputs = _without_places(folder), read_json(folder / INPUTS_FILE)
    about = {
        "format_version": FORMAT_VERSION,
        "reference": source.chosen.reference,
        "loader": _loader(folder, encoder["kind"]),
        "pooling": encoder["settings"].get("pooling", "mean"),
        "head": source.head,
        "head_file": source.head_file,
        "projection_file": PROJECTION_FILE if (folder / PROJECTION_FILE).is_file() else None,
        "threshold": source.result.metrics["dev/threshold"],
        "precision": _precision(source),
        **{name: value for name, value in inputs.items() if name in ("max_length", "max_chunks")},
    }
    write_json(folder / "export.json", about)
    write_json(folder / "labels.json", labels)
    shutil.copyfile(_SCRIPT, folder / "predict.py")
    if _TERMS.is_file():
        shutil.copyfile(_TERMS, folder / _TERMS.name)
    write_text(folder / "README.md", card_text(source, about))


def _labels(source: Source) -> list[dict[str, Any]]:
    """Index, code, name, band and training examples of every label; of restricted data no count below ten."""
    record = source.chosen.record
    if record.dataset is None:
        raise UserError(
            f"{source.chosen.reference}: the prepared data set, which has the names of the labels, is not where the "
            "study read it; put it back"
        )
    shown = StudyFrames(record).shown
    rows = record.dataset.labels().to_dicts()
    return [{**row, "train_count": shown(row["train_count"])} for row in rows] if record.restricted else rows


def _precision(source: Source) -> str:
    train = source.chosen.record.identity["settings"]["train"]
    return str(source.chosen.parameters.get("train.precision", train["precision"]))


def _loader(folder: Path, kind: str) -> str:
    """Who has the encoder's class: transformers itself, or this package."""
    config = folder / "config.json"
    if not config.is_file() or is_file(kind) or "." in kind:
        return "sdl_study"
    return "sdl_study" if str(read_json(config).get("model_type", "")).startswith("sdl_") else "transformers"


def _without_places(folder: Path) -> dict[str, Any]:
    """Take out where on this machine things came from; a kind of the user's own comes along. Returns encoder.json."""
    own = own_module(folder)
    if own is not None:
        shutil.copyfile(own, folder / own.name)
    for name, content in rewritten(folder).items():
        write_json(folder / name, content)
    return read_json(folder / ENCODER_FILE)
