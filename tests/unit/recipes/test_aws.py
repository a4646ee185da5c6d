"""What cluster.yaml asks AWS for is a request that EC2 takes, by botocore's model of the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.model import ListShape, StringShape, StructureShape
from botocore.validate import ParamValidator

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def request_shape() -> StructureShape:
    """Ray passes a node_config to EC2's RunInstances as it is, with a number of instances."""
    shape = (
        botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    )
    assert isinstance(shape, StructureShape)
    return shape


def node_configs() -> dict[str, dict[str, Any]]:
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return {name: kind["node_config"] for name, kind in cluster["available_node_types"].items()}


def mistakes(config: dict[str, Any], shape: StructureShape) -> list[str]:
    """What EC2 would refuse: unknown names and wrong types, and words that are none of those allowed."""
    report = ParamValidator().validate({**config, "MinCount": 1, "MaxCount": 1}, shape)
    return [report.generate_report()] if report.has_errors() else list(unknown_words(config, shape))


def unknown_words(value: Any, shape: Any) -> Iterator[str]:
    """Words that stand in no list of allowed ones, by botocore's shape of the value."""
    if isinstance(shape, StructureShape):
        members: Any = shape.members
        for name, part in value.items():
            yield from unknown_words(part, members[name])
    elif isinstance(shape, ListShape):
        for part in value:
            yield from unknown_words(part, shape.member)
    elif isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        yield f"{shape.name}: {value}"


@pytest.mark.parametrize("name", sorted(node_configs()))
def test_ec2_takes_every_kind_of_node(name: str, request_shape: StructureShape) -> None:
    assert mistakes(node_configs()[name], request_shape) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"InstanceTyp": "g6.12xlarge"}, "InstanceTyp"),
        ({"InstanceType": "g6.13xlarge"}, "InstanceType: g6.13xlarge"),
        ({"BlockDeviceMappings": {"DeviceName": "/dev/sda1"}}, "BlockDeviceMappings"),
        ({"BlockDeviceMappings": [{"Ebs": {"VolumeSize": "200"}}]}, "VolumeSize"),
        ({"InstanceMarketOptions": {"MarketType": "sport"}}, "MarketType: sport"),
    ],
)
def test_ec2_refuses_what_is_wrong(changed: dict[str, Any], told: str, request_shape: StructureShape) -> None:
    found = mistakes({**node_configs()["gpu"], **changed}, request_shape)
    assert any(told in line for line in found)
