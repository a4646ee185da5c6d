"""Whose failure an exception is: the setting's own, the machine's, a full disk's, or a mistake's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Literal

import torch

Blame = Literal["setting", "machine", "disk", "bug"]
"""As ``FailureKind``; and "disk", without whose room no job of the study can go on."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_SIGNS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
# What a mount or a device says that went away; the same job runs elsewhere, or here once it is back.
_LOST = {
    errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ENODEV,
    errno.ENXIO, errno.EREMOTEIO, errno.ENOLINK, errno.ESHUTDOWN,
}  # fmt: skip
_CUDA_SIGNS = ("CUDA error:", "CUDA driver error:")
_CUDA_MISTAKE = "device-side assert"  # an index out of range: the code's or the data's
_CUDA_MEMORY = "CUDA error: out of memory"


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it was raised from or while handling."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def is_full_disk(error: BaseException) -> bool:
    """Whether an exception says that there is no room left, whatever a library made of it."""
    return any(
        getattr(one, "errno", None) in _FULL or any(sign in str(one) for sign in _FULL_SIGNS)
        for one in chain(error)
    )


def blame(error: Exception) -> Blame:
    """Whose failure an exception of one rank is.

    Only CUDA's out of memory is the setting's own here; a loss that is not finite is told by ``SettingFailure``.
    """
    if isinstance(error, torch.OutOfMemoryError) or _CUDA_MEMORY in str(error):
        return "setting"
    if is_full_disk(error):
        return "disk"
    if any(isinstance(one, OSError) and one.errno in _LOST for one in chain(error)) or _is_cuda(error):
        return "machine"
    return "bug"


def _is_cuda(error: Exception) -> bool:
    text = str(error)
    return (
        isinstance(error, RuntimeError)
        and any(sign in text for sign in _CUDA_SIGNS)
        and _CUDA_MISTAKE not in text
    )


def code_of(error: BaseException) -> str:
    """The system's short name of what went wrong (``ESTALE``), in brackets; "" where it has none."""
    numbers = (one.errno or 0 for one in chain(error) if isinstance(one, OSError))
    name = next((errno.errorcode[number] for number in numbers if number in errno.errorcode), "")
    return f" ({name})" if name else ""
