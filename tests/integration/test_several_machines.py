"""A cluster that was joined: its machines come, go and are shared, and no trial is lost or done twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sdl_study.record.files import StudyFiles
from tests.integration.conftest import Engines
from tests.integration.machines import Command, Machines, check_whole, machines
from tests.integration.tiny import tiny_data

SHORT = ("arms=('any','sd')", "controls=()")
LONG = (*SHORT, "train.epochs=8", "budget.trials=4", "budget.first_rung=8")  # no trial is stopped


@pytest.fixture
def cluster(engines: Engines, tmp_path: Path) -> Iterator[Machines]:
    """A head without CPUs of its own."""
    engines.close()
    tiny_data(tmp_path / "prepared")
    with machines() as made:
        yield made


@pytest.fixture
def started() -> Iterator[list[Command]]:
    commands: list[Command] = []
    yield commands
    for command in commands:
        command.kill()


@pytest.mark.slow
def test_a_study_waits_for_its_first_machine_takes_a_second_and_loses_the_first(
    cluster: Machines, started: list[Command], tmp_path: Path
) -> None:
    study = Command(tmp_path, cluster.address, *LONG)
    started.append(study)
    study.until("waits for machines: a group needs 1 CPU, the cluster has 1 machine with 0 CPUs")
    assert not StudyFiles(tmp_path, "tiny").folder.exists()
    first = cluster.join()
    study.until("worker groups: 1 of 1 CPU; 2 machines with 1 CPU")
    study.until("epoch 1/")
    cluster.join()
    study.until("3 machines with 2 CPUs now: places for 2 worker groups", 60.0)
    study.until("epoch 8/8", times=2)
    cluster.lose(first)
    study.until("went away", 90.0)
    study.until("2 machines with 1 CPU now: places for 1 worker group", 90.0)
    assert study.ends() == 0, study.text
    check_whole(tmp_path, "tiny", trials=8, epochs=8)


@pytest.mark.slow
def test_two_studies_at_once_on_one_cluster(
    cluster: Machines, started: list[Command], tmp_path: Path
) -> None:
    cluster.join()
    one = Command(tmp_path, cluster.address, *LONG, "train.epochs=24", "budget.first_rung=24", name="one")
    started.append(one)
    one.until("epoch 1/")
    two = Command(tmp_path, cluster.address, *LONG, name="two")
    started.append(two)
    two.until("worker group 0 waits for 1 CPU")
    assert one.process.poll() is None
    cluster.join()  # for both: who comes first has it
    for study, name, epochs in ((one, "one", 24), (two, "two", 8)):
        assert study.ends() == 0, study.text
        check_whole(tmp_path, name, trials=8, epochs=epochs)
    assert not StudyFiles(tmp_path, "one").engine.exists()


@pytest.mark.slow
def test_a_machine_that_does_not_come_ends_in_one_line_and_nothing_is_written(
    cluster: Machines, started: list[Command], tmp_path: Path
) -> None:
    study = Command(tmp_path, cluster.address, *SHORT, "train.workers=2", more={"SDL_WAIT_MINUTES": "0.1"})
    started.append(study)
    cluster.join()
    assert study.ends() == 2
    assert study.lines[-1].startswith(
        f"error: --address {cluster.address}: no worker group had a place within 6 s: a group needs 2 CPUs, "
        "the cluster has 2 machines with 1 CPU"
    )
    files = StudyFiles(tmp_path, "tiny")
    assert not files.folder.exists()
    assert not files.engine.exists()


@pytest.mark.slow
def test_ranks_of_two_machines(cluster: Machines, started: list[Command], tmp_path: Path) -> None:
    """One of the machines goes away with its rank; the group comes up again once there is another."""
    first, _ = cluster.join(), cluster.join()
    study = Command(tmp_path, cluster.address, *LONG, "train.workers=2")
    started.append(study)
    study.until("worker groups: 1 of 2 CPUs; 3 machines with 2 CPUs")
    study.until("epoch 2/8")
    cluster.lose(first)
    study.until("went away", 90.0)
    study.until("waits for 2 CPUs;", 90.0)  # on one machine or two
    cluster.join()
    assert study.ends() == 0, study.text
    check_whole(tmp_path, "tiny", trials=8, epochs=8)
