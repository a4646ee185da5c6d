"""Ray's start, which changes the process that it happens in; nothing of that stays.

Ray takes SIGTERM for itself, and what it starts inherits this process's umask and is given this process's environment.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants

from sdl_study.ending import MachineFailure
from sdl_study.errors import UserError
from sdl_study.workers.broker import NAMESPACE
from sdl_study.workers.group import quiet_environment


def start_here(root: Path) -> dict[str, str]:
    """Start Ray on this machine, with files that only this user can read.

    Args:
        root: the temporary folder that Ray was told (see ``temporary_folder``).

    Returns:
        What Ray says of the session: its folder on every machine, the head's address, ...

    Raises:
        MachineFailure: Ray does not start.
    """
    try:
        with _files_for_this_user_alone(), _handler_kept():
            return _init("local", include_dashboard=False)
    except Exception as error:  # noqa: BLE001 (Ray raises bare exceptions; its logs have the rest)
        latest = root / "ray" / "session_latest" / "logs"
        raise MachineFailure(
            f"Ray does not start here ({type(error).__name__}); its logs: {latest}"
        ) from None


def join(address: str) -> dict[str, str]:
    """Connect to a cluster that runs.

    Returns:
        What Ray says of the session, as ``start_here``.

    Raises:
        UserError: nothing answers at the address.
    """
    try:
        with _handler_kept():
            return _init(address)
    except ConnectionError:
        raise UserError(f"--address {address}: no Ray cluster answers there") from None


@contextmanager
def temporary_folder(root: Path) -> Iterator[None]:
    """Where a Ray that is started here puts its files."""
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before


@contextmanager
def _files_for_this_user_alone() -> Iterator[None]:
    """The processes started here, and all that they start, write files that only this user can read."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _handler_kept() -> Iterator[None]:
    """While Ray starts, it takes SIGTERM for itself; here the handler that was there before gets it.

    Ray's handler in Python ends the process. The one of its C++ part prints a trace and sets an alarm, which aborts
    the process three seconds later, in the middle of whatever is left in order.
    """
    before = signal.getsignal(signal.SIGTERM)
    disabled = ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER
    ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = True
    try:
        yield
    except SystemExit:  # of Ray's handler in Python
        if callable(before):
            before(signal.SIGTERM, None)
        raise KeyboardInterrupt from None
    finally:
        ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = disabled
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _init(address: str | None, **more: Any) -> dict[str, str]:
    context: Any = ray.init(
        address=address,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
        runtime_env={"env_vars": quiet_environment() | _asked_for()},
        **more,
    )
    return context.address_info


def _asked_for() -> dict[str, str]:
    """What the user asked for in this process's environment and the workers of a joined cluster would not know."""
    return {name: os.environ[name] for name in ("SDL_DEBUG",) if name in os.environ}
