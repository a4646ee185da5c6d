"""What a cluster's hosts open to their neighbours while a study runs: every port of each tried from another host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.hosts import Hosts
from tests.cluster.jobs import Study
from tests.cluster.operator import Operator, until
from tests.cluster.ports import Open, scan, table

pytestmark = pytest.mark.cluster

HOSTS = ("head", "w1", "w2")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study that trains on two hosts."""
    with Hosts(tmp_path_factory.mktemp("hosts"), ("laptop", *HOSTS)) as hosts:
        operator = Operator(hosts, HOSTS[1:])
        operator.up()
        study = Study(operator, "ports", workers=2, trials=100)
        study.start()
        study.trains(2)
        yield study


@pytest.fixture(scope="module")
def found(study: Study) -> list[Open]:
    found = [port for name in HOSTS for port in scan(study.operator.hosts, name, "laptop")]
    assert study.runs
    print(*table(found), sep="\n")
    return found


def test_every_port_demands_the_token(found: list[Open]) -> None:
    assert [port for port in found if not port.refuses] == []
    assert {port.service for port in found} >= {
        "SSH",
        "Ray: GCS",
        "Ray: raylet, object manager",
        "worker",
        "MLflow",
    }
    demanded = [port for port in found if "UNAUTHENTICATED" in port.says or "401" in port.says]
    assert {port.host for port in demanded} == set(HOSTS)


def test_mlflow_and_the_dashboard_are_on_loopback_alone(found: list[Open]) -> None:
    inner = {port.port for port in found if port.loopback and port.host == "head"}
    assert {5000, 8265} <= inner


def test_the_token_is_in_no_process_list_log_or_artifact(study: Study) -> None:
    study.operator.has_no_token_outside_its_file()
    study.operator.on_head(f"ray job stop {study.name}-1")
    until(lambda: not study.runs, "the study does not stop", 60.0)
    study.operator.has_no_token_outside_its_file()
