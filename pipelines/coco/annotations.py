"""Read COCO's instances_*.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.shared.contents import DAMAGED_GZIP, open_bytes, refuse_foreign
from sdl_study.errors import UserError

# Outlines and boxes are nine tenths of a file; unread, they would take six times its size in memory.
_READ = frozenset(
    ("images", "annotations", "categories", "id", "file_name", "name", "image_id", "category_id")
)


@dataclass(frozen=True)
class Annotations:
    """One annotation file: image id → file name, category id → name (by id), image id → category ids."""

    images: dict[int, str]
    categories: dict[int, str]
    labels: dict[int, set[int]]


def read_annotations(file: Path) -> Annotations:
    """Read images, categories and annotations; segmentations and boxes are not looked at.

    Raises:
        UserError: unreadable, not JSON or not UTF-8, a field is missing, ids are not unique, an annotation names
            an image or a category that the file does not have, or there is no image.
    """
    record = _load(file)
    images = _unique(file, "images", record["images"], "file_name")
    categories = _unique(file, "categories", record["categories"], "name")
    if not images:
        raise UserError(f"{file}, field images: the list is empty")
    labels: dict[int, set[int]] = {}
    for row, entry in enumerate(record["annotations"]):
        image = _field(file, "annotations", row, entry, "image_id", int)
        category = _field(file, "annotations", row, entry, "category_id", int)
        if image not in images:
            raise UserError(f"{file}, annotations[{row}], field image_id: {image} is not in images")
        if category not in categories:
            raise UserError(f"{file}, annotations[{row}], field category_id: {category} is not in categories")
        labels.setdefault(image, set()).add(category)
    return Annotations(images, dict(sorted(categories.items())), labels)


def _load(file: Path) -> dict[str, Any]:
    try:
        refuse_foreign(file, "json")
        with open_bytes(file) as stream:
            text = stream.read().decode("utf-8-sig")
        record = json.loads(text, object_pairs_hook=_fields_read)
    except DAMAGED_GZIP:
        raise UserError(f"{file}: gzip file is truncated or damaged; copy it again") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}, byte {error.start}: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{file}, line {error.lineno}: not JSON (the file may be cut off)") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
        raise UserError(f"{file}: not in COCO's layout ({type(error).__name__})") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}: not in COCO's layout: a JSON object is expected")
    for key in ("images", "annotations", "categories"):
        if not isinstance(record.get(key), list):
            raise UserError(f"{file}: not in COCO's layout: the list {key!r} is missing")
    return record


def _fields_read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as the parser finishes it, without what is not read."""
    return {key: value for key, value in pairs if key in _READ}


def _unique(file: Path, key: str, entries: list[Any], value: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for row, entry in enumerate(entries):
        number = _field(file, key, row, entry, "id", int)
        if number in found:
            raise UserError(f"{file}, {key}[{row}], field id: duplicate id {number}")
        text = _field(file, key, row, entry, value, str)
        # JSON may hold half a surrogate pair, which no file name, hash or table can.
        if not text.isascii() and text.encode("utf-8", "replace").decode("utf-8") != text:
            raise UserError(f"{file}, {key}[{row}], field {value}: not Unicode text (half a surrogate pair)")
        found[number] = text
    return found


def _field(file: Path, key: str, row: int, entry: Any, name: str, kind: type) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{file}, {key}[{row}], field {name}: missing or not of type {kind.__name__}")
    return value
