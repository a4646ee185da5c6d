"""Which tests may run beside each other: ``make test`` runs them in two processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest

_WITH_PROCESSES = ("tests/browser/", "tests/cluster/", "tests/distributed/", "tests/integration/")


class Scheduling(LoadScopeScheduling):
    """Tests that start Ray, ranks or a browser run one after another and share what they start; of the others a file's
    tests stay together, for their fixtures."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = (
            False  # in the order of their names the first come first, and take longest
        )
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return "processes" if nodeid.startswith(_WITH_PROCESSES) else nodeid.partition("::")[0]
