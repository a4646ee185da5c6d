"""What every pipeline's command shares: preparing once, and mistakes told in one line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.shared.stopping import stopped_in_order
from sdl_study.data.prepared import Manifest, PreparedData
from sdl_study.ending import main_of
from sdl_study.errors import UserError
from sdl_study.files import check_local

Progress = Callable[[str], None]


def invocation(
    arguments: Mapping[str, Any], inputs: Iterable[Path], *, images: Iterable[Path] = ()
) -> dict[str, Any]:
    """What a preparation was made from: its arguments, and size and time of its input files.

    Args:
        images: the image files; one record of them all, a missing one (check_images names it) left out.
    """
    files = {}
    for path in inputs:
        stat = path.stat()
        files[str(path.resolve())] = [stat.st_size, stat.st_mtime_ns]
    record = {"arguments": {key: str(value) for key, value in arguments.items()}, "inputs": files}
    return {**record, "images": found} if (found := _sizes_and_time(images))["count"] else record


def _sizes_and_time(files: Iterable[Path]) -> dict[str, int]:
    """Number, bytes and newest change of the ``files`` that are there; 120,000 of them take a second."""
    count = size = newest = 0
    for file in files:
        try:
            stat = os.stat(file)  # noqa: PTH116 (called once per image)
        except (OSError, ValueError):  # ValueError: a name that no file can have
            continue
        count, size, newest = count + 1, size + stat.st_size, max(newest, stat.st_mtime_ns)
    return {"count": count, "bytes": size, "newest": newest}


def already_prepared(out: Path, made_from: Mapping[str, Any], progress: Progress) -> Manifest | None:
    """The manifest in ``out`` when it was prepared from the same arguments and files, None when ``out`` is new.

    Raises:
        UserError: ``out`` holds something else.
    """
    record = out / "preparation.json"
    try:
        if not out.exists():
            return None
        if not record.is_file():
            raise UserError(f"{out}: exists and is not a prepared data set; name another folder")
        recorded = json.loads(record.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{record}: damaged: not JSON; remove {out} or name another folder") from None
    if recorded != json.loads(json.dumps(made_from)):
        raise UserError(f"{out}: was prepared with other arguments or input files; name another folder")
    manifest = PreparedData.load(out).manifest
    progress(f"{out}: already prepared, nothing to do (fingerprint {manifest.fingerprint[:12]})")
    return manifest


def summary(out: Path, manifest: Manifest) -> str:
    """One line about a finished preparation."""
    counts = " / ".join(f"{manifest.counts[split].examples:,}" for split in ("train", "dev", "test"))
    return (
        f"{out}: {manifest.num_examples:,} examples (train / dev / test {counts}), "
        f"{manifest.num_labels:,} labels, {manifest.terms}, fingerprint {manifest.fingerprint[:12]}"
    )


def main(command: Callable[[list[str]], None]) -> None:
    """Run a pipeline's command line; a UserError becomes one line on stderr and exit code 2.

    Ctrl-C, SIGTERM and SIGHUP: one line and 130, 143 or 129.
    """

    def in_order() -> None:
        for argument in sys.argv[1:]:
            check_local(argument, "argument")
        with stopped_in_order():
            command(sys.argv[1:])

    if code := main_of(in_order):
        raise SystemExit(code)
