"""bring a study from an object storage into a folder of studies, to look at it or to go on with it"""

from __future__ import annotations

import argparse

from sdl_study.commands import add_out
from sdl_study.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``fetch STUDY --storage URL``."""
    parser.add_argument("study", metavar="STUDY", help="name of a study on the storage")
    parser.add_argument("--storage", metavar="URL", required=True, help="s3://bucket/prefix")
    add_out(parser)


def run(given: argparse.Namespace) -> None:
    """Fetch the study's folder and its prepared data; the storage is only read."""
    from sdl_study.record.files import StudyFiles
    from sdl_study.storage.fetching import fetch_study
    from sdl_study.storage.place import Place, StorageError
    from sdl_study.study.checks import check_name

    check_name(given.study, "STUDY")
    files = StudyFiles(given.out.resolve(), given.study)
    if files.study_json.exists():
        raise UserError(f"{files.folder}: the study is here already; --out names another folder of studies")
    storage = Place(given.storage)
    try:
        fetch_study(storage, files, print)
    except StorageError as error:
        raise UserError(f"--storage {storage.url}: cannot be used ({error})") from None
