"""Files of pretrained weights, looked at without loading them: headers, sizes and shards. Needs no torch.

Source of the format: a safetensors file is the header's length (8 bytes, little-endian), the header (JSON: name →
dtype, shape, data_offsets) and the data, to the last byte.
"""

from __future__ import annotations

import json
from pathlib import Path

from sdl_study.errors import UserError
from sdl_study.models.model_files import is_there, open_file, read_object

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_LONGEST_HEADER = 100_000_000  # the format's own limit

Shapes = dict[str, tuple[int, ...]]


def read_shapes(folder: Path) -> Shapes:
    """Shapes of all tensors by name, from the headers of a folder's weights.

    Raises:
        UserError: there are no safetensors weights, a shard is missing, or a file is not what it should be.
    """
    if is_there(folder / SINGLE):
        return _header(folder / SINGLE)
    if not is_there(folder / INDEX):
        raise UserError(f"{folder}: {_what_instead(folder)}")
    named = read_object(folder / INDEX).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(n, str) for n in named.values()):
        raise UserError(f"{folder / INDEX}: names no files of weights; download the model again")
    shards = sorted(set(named.values()))
    missing = [shard for shard in shards if not is_there(folder / shard)]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(shards)} files of weights are missing, {missing[0]} among them; "
            "download the model again"
        )
    found: Shapes = {}
    for shard in shards:
        found |= _header(folder / shard)
    if lost := sorted(set(named) - set(found)):
        raise UserError(
            f"{folder / named[lost[0]]}: lacks {lost[0]}, which {INDEX} says it holds; download it again"
        )
    return found


def _what_instead(folder: Path) -> str:
    """Why a folder has no weights that are read here."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "is empty; download the model again"
    if "adapter_config.json" in names:
        return "holds an adapter, not a model; merge it into its base model and save that"
    pickled = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack"))]
    if pickled:
        return (
            f"holds its weights as {pickled[0]}, and only safetensors are read (a pickle may run code); load it where "
            "you trust it and write it again with save_pretrained"
        )
    other = [name for name in names if name.endswith((".safetensors", ".gguf", ".onnx"))]
    return f"has no weights under the name {SINGLE}" + (f", only {other[0]}" if other else "")


def _header(path: Path) -> Shapes:
    """Shapes by name from one file's header, whose file has the length that the header tells."""
    with open_file(path) as file:
        size = path.stat().st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if start.lstrip()[:1] == b"<":
            raise UserError(f"{path}: is a web page, not weights; download it again")
        if size < 8 or not 2 <= length <= _LONGEST_HEADER:
            raise UserError(f"{path}: is not a safetensors file ({size:,} bytes); download it again")
        text = file.read(length)
    if len(text) < length:
        raise UserError(f"{path}: is cut off ({size:,} bytes); download it again")
    try:
        header = json.loads(text)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        shapes = {name: tuple(int(side) for side in entry["shape"]) for name, entry in tensors.items()}
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise UserError(f"{path}: is not a safetensors file; download it again") from None
    if not shapes:
        raise UserError(f"{path}: holds no weights; download it again")
    if size != end:
        what = "is cut off" if size < end else "is longer than it says"
        raise UserError(f"{path}: {what} ({size:,} bytes of {end:,}); download it again")
    return shapes
