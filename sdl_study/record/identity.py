"""study.json: what a study is, as it was resolved when it began, and how another one differs from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sdl_study.arms import Arm
from sdl_study.config import Settings, build_settings
from sdl_study.errors import UserError
from sdl_study.files import read_json
from sdl_study.space import SearchSpace

FORMAT_VERSION = 3

# What may change on resume: where and with how many processes it runs, and how much more is spent.
FREE = {
    "data.path", "storage", "train.workers", "train.trials_per_group", "train.trials_per_gpu", "train.spread",
    "train.record_batches",
    "train.micro_batch", "train.frozen_outputs_gib", "train.checkpoint_minutes", "train.compile", "train.parallel",
    "budget.trials", "budget.hours", "budget.gpu_hours", "budget.max_attempts",
}  # fmt: skip

# What a study meant that was begun before there was such a setting, where today's default means something else.
_BEFORE_THERE_WAS = {
    "objective_min_positives": 0,
    "probe": {"grow": False, "scaling": ["standard"], "chosen_on": "train"},
    "train": {"decay_all": True, "collapse_of": "outputs", "head_bias": "random"},
}


def identity(
    name: str,
    arms: tuple[Arm, ...],
    method: str | None,
    space: SearchSpace,
    settings: Settings,
    own_code: Mapping[str, str],
) -> dict[str, Any]:
    """What study.json says of a study, beside its data and the code that ran it.

    Args:
        name, arms, method, space, settings: of the study.
        own_code: digests of the user's own losses and encoders.
    """
    return {
        "format_version": FORMAT_VERSION,
        "name": name,
        "arms": [arm.to_dict() for arm in arms],
        "method": method,
        "space": space.described(),
        "settings": settings.model_dump(mode="json"),
        "own_code": dict(own_code),
    }


def read_identity(path: Path) -> dict[str, Any]:
    """study.json, its settings and arms with the defaults of today where it was written without them.

    Raises:
        UserError: no JSON, another format version, or something that this version does not know.
    """
    before = read_json(path)
    if not isinstance(before, dict) or before.get("format_version") != FORMAT_VERSION:
        version = before.get("format_version") if isinstance(before, dict) else None
        raise UserError(
            f"{path}: format_version {version!r}, this version reads {FORMAT_VERSION}; "
            "go on with the version that wrote it, or start under another --name"
        )
    try:
        settings = build_settings(_completed(before["settings"], _BEFORE_THERE_WAS), f"{path}: settings")
        arms = [Arm(**arm).to_dict() for arm in before["arms"]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}: this version does not know all that stands there ({error}); put it back from a copy, or go "
            "on with the version that wrote it"
        ) from None
    return {**before, "settings": settings.model_dump(mode="json"), "arms": arms}


def _completed(settings: Mapping[str, Any], missing: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with what is missing there put in, section by section."""
    found = {**missing, **settings}
    for name, section in missing.items():
        if isinstance(section, Mapping):
            found[name] = {**section, **settings.get(name, {})}
    budget = _renamed(settings.get("budget", {}))
    # Without selection seeds no split was kept, nor are there folds.
    found["budget"] = {"selection_split": "kept", **budget} if budget.get("selection_seeds") else budget
    return found


def _renamed(budget: Mapping[str, Any]) -> dict[str, Any]:
    """A budget under today's names: folds were called draws."""
    found = {
        "selection_folds" if name == "selection_draws" else name: value for name, value in budget.items()
    }
    if found.get("selection_split") == "redrawn":
        found["selection_split"] = "folds"
    return found


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line per field in which a study is another one; fields that may change on resume do not count."""
    fields = _differences(before["settings"], now["settings"], "")
    found = [f"{field}: {old!r} → {new!r}" for field, old, new in fields]
    arms = list(_of_arms(before["arms"], now["arms"]))
    found += arms
    if before["method"] != now["method"]:
        found.append(f"method: {before['method']!r} → {now['method']!r}")
    for name in ("ablates", "aa"):  # only where they say something
        if bool(before.get(name)) != bool(now.get(name)):
            found.append(f"{name}: {bool(before.get(name))} → {bool(now.get(name))}")
    if before.get("warm_start") != now.get("warm_start"):
        found.append("warm_start: other first trials")
    found += _of_space(before["space"], now["space"], with_arms=not arms)
    old, new = before.get("own_code", {}), now["own_code"]
    return found + [f"{name}: its code was changed" for name in old if name in new and old[name] != new[name]]


def _differences(before: Any, now: Any, path: str) -> list[tuple[str, Any, Any]]:
    if path in FREE:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in sorted(before.keys() | now.keys()):
            found += _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if before == now else [(path, before, now)]


def _of_arms(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> Iterator[str]:
    old, new = ([arm["name"] for arm in arms] for arms in (before, now))
    if old != new:
        yield f"arms: {old!r} → {new!r}"
        return
    for one, other in zip(before, now, strict=True):
        for field, was, becomes in _differences(one, other, f"arms.{one['name']}"):
            yield f"{field}: {was!r} → {becomes!r}"


def _of_space(before: Mapping[str, Any], now: Mapping[str, Any], with_arms: bool) -> Iterator[str]:
    """Differences of two search spaces; who searches what is not told again where the arms differ anyway."""
    old, new = (
        {name: p if with_arms else {**p, "arms": None} for name, p in space["parameters"].items()}
        for space in (before, now)
    )
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield f"search space: {name} was searched"
        elif name not in old:
            yield f"search space: {name} was not searched"
        elif old[name] != new[name]:
            yield f"search space: {name} has another range, other conditions or other arms"
    if before["order"] != now["order"] and old.keys() == new.keys():
        yield "search space: the parameters stand in another order"
    if any(before[field] != now[field] for field in ("published", "published_of_arm")):
        yield "search space: other published points"
