"""A search for a patient's words in everything that a study leaves behind, unpacking what it finds."""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import re
import sqlite3
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
_DEPTH = 3


def contents(path: Path) -> Iterator[bytes]:
    """Everything readable in a file: its bytes, what is packed in them, and its rows."""
    raw = path.read_bytes()
    yield path.name.encode()
    yield from unpacked(raw)
    if raw.startswith(b"SQLite format 3\x00"):
        yield from _sqlite(path)
    if raw[:4] == b"PAR1":
        yield from _parquet(path)
    if path.suffix == ".safetensors":
        (size,) = struct.unpack("<Q", raw[:8])
        yield json.dumps(json.loads(raw[8 : 8 + size]).get("__metadata__", {})).encode()


def unpacked(raw: bytes, depth: int = _DEPTH) -> Iterator[bytes]:
    """Bytes, and what gzip, zip and base64 hide in them."""
    yield raw
    if depth == 0:
        return
    if raw[:2] == b"\x1f\x8b":
        try:
            yield from unpacked(gzip.decompress(raw), depth - 1)
        except (OSError, EOFError):
            return
    if raw[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for name in archive.namelist():
                yield from unpacked(archive.read(name), depth - 1)
    for found in _BASE64.finditer(raw):
        try:
            yield from unpacked(base64.b64decode(found.group(), validate=True), depth - 1)
        except binascii.Error:
            continue


def _sqlite(path: Path) -> Iterator[bytes]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in tables:
            for row in connection.execute(f'select * from "{table}"'):
                for value in row:
                    yield from unpacked(value if isinstance(value, bytes) else str(value).encode())
    finally:
        connection.close()


def _parquet(path: Path) -> Iterator[bytes]:
    for row in pl.read_parquet(path).iter_rows():
        for value in row:
            yield (value if isinstance(value, bytes) else str(value).encode())


def files_with(needles: Iterable[str], places: Iterable[Path]) -> dict[str, set[str]]:
    """Needle → files (below the places) that hold it in any packing, any case."""
    wanted = {needle: needle.lower().encode() for needle in needles}
    found: dict[str, set[str]] = {needle: set() for needle in wanted}
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if not path.is_file() or path.is_symlink():
                continue
            for content in contents(path):
                lowered = content.lower()
                for needle, code in wanted.items():
                    if code in lowered:
                        found[needle].add(str(path))
    return found
