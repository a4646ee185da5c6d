"""The first trials of a study, where they come from an earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sdl_study.space import ParameterValue


@dataclass(frozen=True)
class WarmPoint:
    """What an earlier trial says of a new one's parameters; those that it does not name are sampled."""

    trial: int
    parameters: Mapping[str, ParameterValue]


@dataclass(frozen=True)
class WarmStart:
    """The first trials of every arm after the published setting.

    Attributes:
        study: the earlier one.
        data_fingerprint: of its data.
        points: by arm, equally many of each.
    """

    study: str
    data_fingerprint: str
    points: Mapping[str, Sequence[WarmPoint]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it stands in study.json."""
        points = {arm: [asdict(point) for point in own] for arm, own in self.points.items()}
        return {"study": self.study, "data_fingerprint": self.data_fingerprint, "points": points}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> WarmStart:
        """The inverse of ``to_dict``."""
        points = {arm: tuple(WarmPoint(**point) for point in own) for arm, own in values["points"].items()}
        return WarmStart(values["study"], values["data_fingerprint"], points)

    @property
    def count(self) -> int:
        """Points of every arm."""
        return min(len(own) for own in self.points.values())

    def lines(self, data_fingerprint: str) -> Iterator[str]:
        """What is to be known of it, a line each.

        Args:
            data_fingerprint: of the new study's data.
        """
        yield (
            f"warm start: {self.count} of every arm's first trials are settings of {self.study}, which were best on "
            "dev there (no test result has a part in it)"
        )
        if data_fingerprint != self.data_fingerprint:
            yield f"warm start: {self.study} was on other data; its settings are starting points and no results"
