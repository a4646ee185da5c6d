"""``check cluster`` on real raylets, several of them on this machine; one of them is made to see another folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from sdl_study.errors import UserError
from sdl_study.run import main
from sdl_study.study import machines
from sdl_study.workers.probe.answers import Answer, Question, answer
from sdl_study.workers.probe.machines import ask_machines
from tests.integration.conftest import Engines
from tests.integration.tiny import tiny_data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(engines: Engines) -> Iterator[Cluster]:
    """A head that hands out no CPU, and two machines with one each."""
    engines.close()  # one Ray at a time
    with tempfile.TemporaryDirectory(dir="/tmp") as short, set_aside("RAY_TMPDIR", short):
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        made.add_node(num_cpus=1)
        made.add_node(num_cpus=1, resources={"away": 1})
        made.wait_for_nodes()
        yield made
        made.shutdown()


@contextmanager
def set_aside(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    yield
    if before is None:
        del os.environ[name]
    else:
        os.environ[name] = before


@pytest.fixture
def joined(cluster: Cluster) -> Iterator[None]:
    ray.init(address=cluster.address, log_to_driver=False)
    yield
    ray.shutdown()


def test_a_cluster_that_is_ready(cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tiny_data(tmp_path)
    out = tmp_path / "studies"
    given = ["check", "cluster", "--address", cluster.address, "--out", str(out), "--data", str(data)]
    assert main(given) == 0
    lines = capfd.readouterr().out.splitlines()
    assert sum("torch" in line and "code" in line for line in lines) == 3
    assert any(line.startswith("all-reduce: 2 ranks on 2 machines, gloo: ") for line in lines)
    assert lines[-1] == "the cluster is ready"
    assert not any(out.iterdir())


def test_a_machine_that_sees_another_folder_is_one_line(
    joined: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = str(tmp_path / "elsewhere" / "studies" / ".check")

    def look(question: Question, node: str, address: str) -> Answer:
        """As the real one, but the machine with ``away`` has nothing mounted."""
        own = {n["NodeID"]: n["Resources"] for n in ray.nodes()}[node]
        if "away" not in own:
            return answer(question, node, address)
        found = answer(replace(question, meeting=elsewhere), node, address)
        return replace(found, host="w2", troubles={question.meeting: found.troubles[elsewhere]})

    asked = ask_machines(tmp_path / "studies", None, look)
    (line,) = asked.findings
    assert line.startswith("w2 (")
    assert f"does not share the folder of studies {tmp_path / 'studies'}" in line
    assert not (tmp_path / "studies").exists()
    monkeypatch.setattr(machines, "ask_machines", lambda out, data: ask_machines(out, data, look))
    with pytest.raises(UserError, match=r"tiny: the cluster is not ready .*\n  w2 "):
        machines.check_machines("tiny", tmp_path / "studies", tiny_data(tmp_path))


def test_a_machine_that_cannot_answer_is_one_line(joined: None, tmp_path: Path) -> None:
    def look(question: Question, node: str, address: str) -> Answer:
        if "away" in {n["NodeID"]: n["Resources"] for n in ray.nodes()}[node]:
            raise ModuleNotFoundError("sdl_study")
        return answer(question, node, address)

    (line,) = ask_machines(tmp_path, None, look).findings
    assert line.endswith("cannot run this package (ModuleNotFoundError); is it installed there?")
