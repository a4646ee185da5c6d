"""Whose failure it is: only a loss that is not finite and CUDA's out of memory are the setting's own."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from sdl_study.errors import UserError
from sdl_study.workers.failures import Blame, blame, code_of, is_full_disk


def of(number: int) -> OSError:
    return OSError(number, "a patient's words")


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "setting"),
        (RuntimeError("CUDA error: out of memory"), "setting"),
        (of(errno.ENOSPC), "disk"),
        (of(errno.EDQUOT), "disk"),
        (RuntimeError("IO: No space left on device (os error 28)"), "disk"),
        (of(errno.ESTALE), "machine"),
        (of(errno.EIO), "machine"),
        (of(errno.ENOTCONN), "machine"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "machine"),
        (RuntimeError("CUDA error: unspecified launch failure"), "machine"),
        (RuntimeError("CUDA driver error: unknown error"), "machine"),
        (RuntimeError("CUDA error: device-side assert triggered"), "bug"),
        (of(errno.EACCES), "bug"),
        (of(errno.ENOENT), "bug"),
        (ValueError("No space between words"), "bug"),
        (MemoryError(), "bug"),
    ],
)
def test_an_exceptions_blame(error: Exception, whose: Blame) -> None:
    assert blame(error) == whose


@pytest.mark.parametrize(("number", "whose"), [(errno.ENOSPC, "disk"), (errno.ESTALE, "machine")])
def test_what_a_library_made_of_it_is_the_same(number: int, whose: Blame) -> None:
    def read() -> None:
        try:
            raise of(number)
        except OSError:
            raise UserError("cannot be read (OSError)") from None

    with pytest.raises(UserError) as raised:
        read()
    assert blame(raised.value) == whose
    assert code_of(raised.value) == f" ({errno.errorcode[number]})"


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_checkpoint_on_a_full_disk(size: int) -> None:
    """torch calls it by another name where the tensors are large."""

    def save() -> None:
        with Path("/dev/full").open("wb") as file:
            torch.save({"weights": torch.zeros(size)}, file)
            file.flush()

    with pytest.raises((OSError, RuntimeError)) as raised:
        save()
    assert blame(raised.value) == "disk"
    assert is_full_disk(raised.value)


def test_an_exception_without_a_code_shows_none() -> None:
    assert code_of(ValueError("28")) == ""
