"""What tells a frozen part of an encoder from others, and inputs small enough to ask a model about itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from sdl_study.input_spec import InputSpec

if TYPE_CHECKING:
    from torch import Tensor

# Of a configuration: where its file was found and by whom it was written.
_NOT_OF_THE_MODEL = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")


def example_inputs(spec: InputSpec, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Two examples as a store gives them: texts of a few tokens, black images, zeros.

    On the meta device without a mask, for models of transformers look at its numbers.
    """
    if spec.modality == "text":
        ids = torch.ones(2, min(spec.max_length, 8), dtype=torch.long, device=device) % spec.vocab_size
        return (
            {"input_ids": ids} if ids.is_meta else {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        )
    if spec.modality == "image":
        shape = (2, spec.channels, spec.image_size, spec.image_size)
        return {"pixel_values": torch.zeros(shape, device=device)}
    return {"features": torch.zeros(2, spec.width, device=device)}


def digest_of(backbone: nn.Module, state: Mapping[str, Tensor], more: Sequence[object]) -> str:
    """Digest of some of a backbone's weights and buffers, its configuration, and what else is given.

    The same in every process; where the configuration or a file came from does not count.
    """
    digest = hashlib.sha256(json.dumps([_configuration(backbone), *more]).encode())
    for name, values in sorted(state.items()):
        flat = values.detach().contiguous().cpu()
        digest.update(f"{name} {flat.dtype} {tuple(flat.shape)}".encode())
        digest.update(flat.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _configuration(backbone: nn.Module) -> object:
    config = getattr(backbone, "config", None)
    if config is None or not hasattr(config, "to_json_string"):
        return type(backbone).__qualname__
    content = json.loads(config.to_json_string(use_diff=False))
    return {name: content[name] for name in sorted(content) if name not in _NOT_OF_THE_MODEL}
