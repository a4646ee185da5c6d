"""The ledger of test data: one line for every opening of the test labels, written before they are opened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sdl_study.errors import UserError
from sdl_study.evaluation.predictions import FinalIdentity
from sdl_study.files import sync_folder
from sdl_study.locks import take_lock

LEDGER_FILE = "test_ledger.jsonl"


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One opening: when, for which final, of which data, under which declaration, by which program."""

    time: str
    identity: FinalIdentity
    fingerprint: str
    declaration: str
    code_version: str

    def to_json(self) -> str:
        """One line of the ledger, without its end."""
        record = asdict(self)
        del record["identity"]
        record |= self.identity.to_record()
        return json.dumps(record, sort_keys=True, ensure_ascii=False)


def append_line(folder: Path, identity: FinalIdentity, **facts: str) -> LedgerLine:
    """Append one line and flush it to the disk; only then may the labels be opened.

    Args:
        folder: the prepared data set.
        identity: the final that will be scored.
        facts: fingerprint, declaration and code_version.

    Raises:
        UserError: the ledger cannot be written or locked.
    """
    line = LedgerLine(datetime.now(UTC).isoformat(timespec="seconds"), identity, **facts)
    _append(folder, lambda: [line])
    return line


def append_missing(folder: Path, lines: Iterable[LedgerLine]) -> None:
    """Put back openings that were kept elsewhere, as many of them as the ledger of this folder lacks.

    Raises:
        UserError: the ledger cannot be read, written or locked.
    """
    wanted = list(lines)
    if any(line not in read_ledger(folder) for line in wanted):
        _append(folder, lambda: [line for line in wanted if line not in read_ledger(folder)])


def _append(folder: Path, lines: Callable[[], Iterable[LedgerLine]]) -> None:
    """Append lines, which are asked for while nobody else appends."""
    path = folder / LEDGER_FILE
    try:
        with path.open("ab+") as file:
            take_lock(file, folder, wait=True)
            text = "".join(line.to_json() + "\n" for line in lines())
            file.write(_after_a_torn_line(file) + text.encode())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(folder)
    except OSError as error:
        raise UserError(
            f"{path}: the ledger cannot be written ({error.strerror}), so the test labels stay closed;"
            " make the folder writable"
        ) from None


def _after_a_torn_line(file: Any) -> bytes:
    """A crash may have left a line without its end: the next one must not be glued to it."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


def read_ledger(folder: str | Path) -> list[LedgerLine]:
    """All openings so far, in order; none when there is no ledger yet. A torn line counts as no line.

    Raises:
        UserError: the ledger is there and cannot be read.
    """
    path = Path(folder) / LEDGER_FILE
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{path}: the ledger cannot be read ({error.strerror})") from None
    return [line for line in map(_parse, text.split("\n")) if line is not None]


def _parse(text: str) -> LedgerLine | None:
    try:
        record = json.loads(text)
        identity = FinalIdentity.from_record(record)
        facts = {name: str(record[name]) for name in ("time", "fingerprint", "declaration", "code_version")}
    except (ValueError, KeyError, TypeError):
        return None
    return LedgerLine(identity=identity, **facts)
