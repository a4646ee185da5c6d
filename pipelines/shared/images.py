"""Look at every image file before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.shared.runner import Progress
from sdl_study.data.image_files import BrokenImageError, image_digest, opened, rgb
from sdl_study.errors import UserError

_SHOWN = 10
_THREADS = 4


def check_images(files: Sequence[tuple[Path, str]], progress: Progress) -> list[str]:
    """Decode every image once; its digest (``image_digest``), in the order given.

    Raises:
        UserError: some are missing or broken; how many, and the first ten by path and reason.
    """
    progress(f"looking at {len(files):,} images")
    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(_check_image, files, chunksize=64))
    broken = [
        f"{_one_line(folder / name)} ({reason})"
        for (folder, name), (reason, _) in zip(files, results, strict=True)
        if reason
    ]
    if broken:
        more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        raise UserError(f"{len(broken)} images cannot be read: {'; '.join(broken[:_SHOWN])}{more}")
    return [digest for _, digest in results]


def _one_line(path: Path) -> str:
    """The path as it is, or escaped where a character would break the line or cannot be printed."""
    return text if (text := str(path)).isprintable() else ascii(text)


def _check_image(where: tuple[Path, str]) -> tuple[str | None, str]:
    folder, name = where
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return "file name leads outside the image folder", ""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return "file is missing", ""
    except OSError as error:
        return f"cannot be opened: {error.strerror}", ""
    except ValueError as error:  # a NUL or half a surrogate pair
        return f"no possible file name: {type(error).__name__}", ""
    try:
        with opened(content) as image:
            # A JPEG is decoded at an eighth of its size: every byte is still read, at a fraction of the work.
            image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
            rgb(image)
    except BrokenImageError as error:
        return str(error), ""
    return None, image_digest(content)
