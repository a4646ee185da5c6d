"""cluster.yaml passes Ray's own validation, offline, and keeps what its comments promise."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from sdl_study.run import make_parser

ROOT = Path(__file__).resolve().parents[2]
START = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def validate(cluster: dict[str, Any]) -> dict[str, Any]:
    prepared = prepare_config(copy.deepcopy(cluster))
    prepared["cluster_synced_files"] = []  # `ray up` fills it in the same way before it validates
    validate_config(prepared)
    return prepared


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    prepared = validate(cluster)
    gpu = prepared["available_node_types"]["gpu"]
    assert (gpu["min_workers"], gpu["max_workers"]) == (0, cluster["max_workers"])


def test_ray_refuses_an_unknown_key(cluster: dict[str, Any]) -> None:
    cluster["worker_count"] = 2
    with pytest.raises(jsonschema.ValidationError, match="worker_count"):
        validate(cluster)


def test_ray_refuses_a_wrong_type(cluster: dict[str, Any]) -> None:
    cluster["available_node_types"]["gpu"]["min_workers"] = "two"
    with pytest.raises(jsonschema.ValidationError, match="'two' is not of type 'integer'"):
        validate(cluster)


def test_ray_refuses_a_head_that_is_no_node_type(cluster: dict[str, Any]) -> None:
    cluster["head_node_type"] = "haed"
    with pytest.raises(ValueError, match="head_node_type"):
        validate(cluster)


def test_token_and_silence_reach_every_ray_process(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for commands in START:
        (start,) = [command for command in cluster[commands] if "ray start" in command]
        for switch in (
            "RAY_AUTH_MODE=token",
            "RAY_USAGE_STATS_ENABLED=0",
            "MLFLOW_DISABLE_TELEMETRY=true",
            "HF_HUB_DISABLE_TELEMETRY=1",
        ):
            assert switch in start.split("ray start")[0], f"{commands} lacks {switch}"


def test_nothing_but_ssh_is_opened(cluster: dict[str, Any]) -> None:
    assert "IpPermissions" not in cluster["provider"]["security_group"]
    (head,) = [command for command in cluster["head_start_ray_commands"] if "ray start" in command]
    assert "--dashboard-host=127.0.0.1" in head


def test_it_installs_this_project_with_its_constraints(cluster: dict[str, Any]) -> None:
    (mounted,) = [remote for remote, local in cluster["file_mounts"].items() if local == "."]
    (install,) = [command for command in cluster["setup_commands"] if "-e ." in command]
    assert install.startswith(f"cd {mounted} &&")
    constraints = re.search(r"-c (\S+)", install)
    assert constraints is not None
    assert (ROOT / constraints[1]).is_file()


def test_every_tracked_file_reaches_the_nodes(cluster: dict[str, Any]) -> None:
    """rsync leaves out whatever has an excluded name, at any depth: `data` would drop sdl_study/data."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = {part for path in tracked.stdout.split() for part in Path(path).parts}
    assert {"sdl_study", "data", "constraints.txt"} <= names
    left_out = {name for name in names for pattern in cluster["rsync_exclude"] if fnmatch(name, pattern)}
    assert not left_out


def lines_of(text: str) -> list[str]:
    """The commands that the first lines of a recipe show, one that goes on in the next line in one."""
    shown = [
        line[4:]
        for line in text.split("\n\ncluster_name", maxsplit=1)[0].splitlines()
        if line.startswith("#   ")
    ]
    found: list[str] = []
    for line in shown:
        if line.startswith(" "):
            found[-1] += f" {line.strip()}"
        else:
            found.append(line.strip())
    return found


def test_the_study_that_is_shown_is_a_command_line_that_is_known(cluster: dict[str, Any]) -> None:
    (shown,) = [line for line in lines_of((ROOT / "cluster.yaml").read_text()) if "sdl_study.run" in line]
    ray, execute, file, inner = shlex.split(shown, comments=True)
    assert (ray, execute, file) == ("ray", "exec", "cluster.yaml")
    job, _, study = inner.partition(" -- ")
    assert job.startswith("ray job submit --no-wait ")
    python, flag, module, *words = shlex.split(study)
    assert (python, flag, module) == ("python", "-m", "sdl_study.run")
    given = make_parser().parse_args(words)
    assert given.address == "auto"
    commands = [
        shlex.split(line) for line in cluster["head_start_ray_commands"] if "mlflow_server.sh" in line
    ]
    assert [words[2:] for words in commands] == [[str(given.out)], [str(given.out), "wait"]]
    assert given.tracking_uri == "http://127.0.0.1:5000"


def test_the_local_recipe_differs_in_nothing_but_its_provider(cluster: dict[str, Any]) -> None:
    local = yaml.safe_load((ROOT / "sdl_study/cluster/local.yaml").read_text())
    validate(local)
    for key in ("cluster_name", "file_mounts", "rsync_exclude", "rsync_filter"):
        assert local[key] == cluster[key]
    for key in START:
        # Up to the words of Ray's own start: the token, the silence, the server.
        mine, others = (
            [line.split("~/sdl-env/bin/ray start")[0] for line in file[key]] for file in (local, cluster)
        )
        assert [line.split("for attempt")[0] for line in mine[: len(others)]] == others
    (head,) = [line for line in local["head_start_ray_commands"] if "ray start" in line]
    assert "--num-cpus=0 --num-gpus=0" in head  # as the head's resources on AWS
    assert "--dashboard-host=127.0.0.1" in head


@pytest.mark.parametrize("file", ["cluster.yaml", "sdl_study/cluster/local.yaml"])
def test_every_command_is_shell(file: str) -> None:
    cluster = yaml.safe_load((ROOT / file).read_text())
    commands = [command for key in cluster if key.endswith("_commands") for command in cluster[key]]
    assert len(commands) > len(START)
    for command in commands:
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
