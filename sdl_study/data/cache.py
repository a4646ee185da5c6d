"""Folders built once and then shared: temporary name, rename, and a lock so that one process builds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from sdl_study.data.disk import publish
from sdl_study.errors import UserError
from sdl_study.locks import take_lock

SettingsT = TypeVar("SettingsT")


def parse_settings(cls: type[SettingsT], given: Mapping[str, Any]) -> SettingsT:
    """Settings of a store from ``data.store``; a name it does not have is a mistake.

    Raises:
        UserError: unknown name, or a value that the class refuses.
    """
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise UserError(f"data.store.{name}: unknown; known are {', '.join(known)}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    try:
        return cls(**values)
    except TypeError:
        raise UserError(f"data.store: a value has the wrong type: {dict(given)}") from None


def check_type(name: str, value: object, kind: type | tuple[type, ...]) -> None:
    """Refuse a value of another type; True is no number.

    Raises:
        UserError: naming the field ``data.store.NAME``.
    """
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
        raise UserError(f"data.store.{name}: {value!r} is not of type {names}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among ``choices``.

    Raises:
        UserError: naming the field ``data.store.NAME``.
    """
    if value not in choices:
        raise UserError(f"data.store.{name}: {value!r} is unknown; choose from {', '.join(choices)}")


def check_at_least(name: str, value: object, floor: int) -> None:
    """Refuse what is not a whole number of at least ``floor``.

    Raises:
        UserError: naming the field ``data.store.NAME``.
    """
    check_type(name, value, int)
    if value < floor:  # type: ignore[operator]
        raise UserError(f"data.store.{name}: {value} is too small; at least {floor}")


def store_key(kind: str, fingerprint: str, settings: object, version: int) -> str:
    """Name of a store's folder: what it is of, and how it was made.

    A setting that is None does not count: one that came later leaves the names of older stores as they are.
    """
    given = {name: value for name, value in asdict(settings).items() if value is not None}  # type: ignore[call-overload]
    record = json.dumps([version, given], sort_keys=True)
    return f"{kind}-{fingerprint[:16]}-{hashlib.sha256(record.encode()).hexdigest()[:12]}"


def build_once(cache_dir: Path, key: str, build: Callable[[Path], None]) -> Path:
    """Folder ``key`` under ``cache_dir``, built by ``build(temporary folder)`` if it is not there.

    Several processes may ask at once: one builds, the others wait for it.

    Raises:
        UserError: ``cache_dir`` cannot be written, or knows no locks.
    """
    final = cache_dir / key
    if final.is_dir():
        return final
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        lock = (cache_dir / f".{key}.lock").open("w")
    except OSError as error:
        raise UserError(f"{cache_dir}: store folder cannot be written: {error.strerror}") from None
    with lock:
        take_lock(lock, cache_dir, wait=True)
        if final.is_dir():
            return final
        # Who holds the lock is alone: what others began and did not finish was left by killed processes.
        for abandoned in cache_dir.glob(f".{key}.partial-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        partial = cache_dir / f".{key}.partial-{os.getpid()}"
        try:
            partial.mkdir(mode=0o700)
            build(partial)
            publish(partial, final)
        except OSError as error:
            if error.errno is None:
                raise
            reason = error.strerror or os.strerror(error.errno)
            raise UserError(f"{cache_dir}: store cannot be written: {reason}") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return final
