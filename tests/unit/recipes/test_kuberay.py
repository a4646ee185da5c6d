"""kuberay.yaml passes the schema of KubeRay's own definition of a RayJob, and its parts fit each other."""

from __future__ import annotations

import json
import re
import shlex
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sdl_study.run import make_parser

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FILE = ROOT / "sdl_study/cluster/kuberay.yaml"
# Of KubeRay 1.7.0 (Apache-2.0; where it is from and what was left out stands in the file).
SCHEMA: dict[str, Any] = json.loads((HERE / "kuberay_rayjob.json").read_text())["schema"]


def documents() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(FILE.read_text())}


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_kuberay_accepts_it() -> None:
    jsonschema.validate(documents()["RayJob"], SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "shutdownAfterJobFinished"), True),
        (("spec", "backoffLimit"), "five"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replica"), 2),
        (("spec", "rayClusterSpec", "authOptions", "mode"), "secret"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "images"), "a"),
        (
            (
                "spec",
                "rayClusterSpec",
                "headGroupSpec",
                "template",
                "spec",
                "containers",
                0,
                "env",
                0,
                "value",
            ),
            0,
        ),
    ],
)
def test_kuberay_refuses_what_is_wrong(path: tuple[str | int, ...], value: object) -> None:
    job = deepcopy(documents()["RayJob"])
    place: Any = job
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMA)


def test_the_study_is_a_command_line_that_is_known() -> None:
    job = documents()["RayJob"]
    python, flag, module, *words = shlex.split(job["spec"]["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "sdl_study.run")
    given = make_parser().parse_args(words)
    service = documents()["Service"]
    port = service["spec"]["ports"][0]["port"]
    assert given.tracking_uri == f"http://{service['metadata']['name']}:{port}"
    (server,) = documents()["Deployment"]["spec"]["template"]["spec"]["containers"]
    allowed = server["command"][server["command"].index("--allowed-hosts") + 1].split(",")
    assert f"{service['metadata']['name']}:{port}" in allowed
    for pod in pods(job):
        (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
        assert Path(given.out).is_relative_to(mount["mountPath"])


def test_every_pod_has_the_claim_and_only_the_studys_reach_mlflow() -> None:
    found = documents()
    claim = found["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    server = found["Deployment"]["spec"]["template"]
    for pod in (*pods(found["RayJob"]), server):
        (volume,) = pod["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    policy = found["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == server["metadata"]["labels"]
    (rule,) = policy["ingress"]
    (allowed,) = rule["from"]
    assert set(allowed) == {"podSelector"}
    for pod in pods(found["RayJob"]):
        assert pod["metadata"]["labels"] == allowed["podSelector"]["matchLabels"]


def test_its_ray_is_the_one_that_is_installed() -> None:
    found = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found is not None
    assert documents()["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"] == found[1]
