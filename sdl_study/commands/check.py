"""look at a prepared data set, a study's record, or a cluster"""

from __future__ import annotations

import argparse
from pathlib import Path

from sdl_study.commands import add_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``check data PATH``, ``check study STUDY`` and ``check cluster``."""
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    words = "counts, relations, valid anchors and leaks of a prepared data set"
    data = kinds.add_parser("data", help=words, description=words)
    data.add_argument("path", type=Path)
    data.add_argument("--batch-size", type=int, default=64, help="global batch size of the relation mix")
    words = "what does not fit in a study: journal, MLflow, files, ledger; nothing is written"
    study = kinds.add_parser("study", help=words, description=words)
    study.add_argument("study", metavar="STUDY", help="name of a study in --out")
    add_out(study)
    study.add_argument("--tracking-uri", help="MLflow server (default: the SQLite database in --out)")
    words = "shared folders, versions, code and network of a cluster's machines; seconds"
    cluster = kinds.add_parser("cluster", help=words, description=words)
    cluster.add_argument(
        "--address", help="Ray cluster to join, e.g. auto (default: start one on this machine)"
    )
    add_out(cluster)
    cluster.add_argument(
        "--data", metavar="DIR", type=Path, help="prepared data set that every machine must see"
    )
    cluster.add_argument("--tracking-uri", help="MLflow server that the driver must reach")


def run(given: argparse.Namespace) -> None:
    """Print what was found."""
    {"data": _data, "study": _study, "cluster": _cluster}[given.what](given)


def _data(given: argparse.Namespace) -> None:
    from sdl_study.config import Settings
    from sdl_study.data.check import describe
    from sdl_study.data.prepared import PreparedData

    least = Settings.model_fields["objective_min_positives"].default
    print(describe(PreparedData.load(given.path), given.batch_size, least))


def _study(given: argparse.Namespace) -> None:
    from sdl_study.ending import Disagreement
    from sdl_study.record.files import StudyFiles
    from sdl_study.study.audit import audit

    findings, remarks = audit(StudyFiles(given.out.resolve(), given.study), given.tracking_uri)
    for line in (*findings, *remarks):
        print(line)
    if findings:
        raise Disagreement(f"{given.study}: findings: {len(findings)}")
    print(f"{given.study}: nothing found")


def _cluster(given: argparse.Namespace) -> None:
    from sdl_study.ending import Disagreement
    from sdl_study.study.machines import check_cluster

    data = None if given.data is None else given.data.resolve()
    findings = check_cluster(given.address, given.out.resolve(), data, given.tracking_uri, print)
    if findings:
        raise Disagreement(f"the cluster is not ready; findings: {findings}")
    print("the cluster is ready")
