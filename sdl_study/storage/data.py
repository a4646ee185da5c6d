"""The prepared data of studies on the storage, by their fingerprint: brought there once, fetched once a machine.

What identifies people (``id_map.parquet``) and what speaks of this machine (paths of images, how the data were made)
stays here; so do the files of images, which are as large as they are many.
"""

from __future__ import annotations

from pathlib import Path

from sdl_study.data.prepared import Manifest
from sdl_study.storage.index import INDEX, Entry, Index, fetch, read_index
from sdl_study.storage.mirror import GoesOn
from sdl_study.storage.objects import Objects
from sdl_study.storage.place import Place

_MANIFEST = "manifest.json"


def place_of(storage: Place, fingerprint: str) -> Place:
    """Where a data set lies."""
    return storage.below("data").below(fingerprint[:16])


def can_be_kept(manifest: Manifest) -> bool:
    """Whether the prepared folder is all that a study reads."""
    return manifest.modality != "image"


def bring_data(storage: Place, folder: Path, manifest: Manifest, goes_on: GoesOn) -> None:
    """Bring a data set to the storage, unless it is there.

    Raises:
        StorageError: the storage did not take it; the same call goes on.
    """
    place = place_of(storage, manifest.fingerprint)
    if place.get(INDEX) is not None:
        return
    objects, files = Objects(place), dict[str, Entry]()
    for name in (*manifest.file_bytes, _MANIFEST):
        entry = objects.entry(folder / name, None, goes_on)
        if entry is not None:  # test labels may be kept elsewhere
            files[name] = entry
    place.put(INDEX, Index.of(files, {"private": manifest.terms == "restricted"}).to_json())


def fetch_data(storage: Place, fingerprint: str, folder: Path) -> bool:
    """Bring a data set here, unless it is here; whether it is.

    Raises:
        UserError: what lies there is damaged.
        StorageError: the storage does not answer.
    """
    if folder.is_dir():
        return True
    place = place_of(storage, fingerprint)
    if read_index(place) is None:
        return False
    fetch(place, folder)
    return True
