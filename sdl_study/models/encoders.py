"""One door to every encoder: ``build_encoder`` makes it, ``load_encoder`` reads a saved one.

transformers is imported inside the kinds' functions: its first import takes seconds, paid once by a worker and never
by a driver that needs no pretrained encoder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sdl_study.errors import UserError
from sdl_study.files import write_json
from sdl_study.input_spec import InputSpec
from sdl_study.models.catalogue import EncoderKind, check_encoder, find_kind, parse_encoder_settings
from sdl_study.models.norm import GlobalBatchNorm
from sdl_study.models.pooling import pool_pixels, pool_tokens
from sdl_study.models.settings import EncoderSettings, TextPooling

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ENCODER_FILE = "encoder.json"
WEIGHTS_FILE = "model.safetensors"


class Encoder(nn.Module):
    """A backbone and the pooling over its output.

    Called with the tensors of a store as keywords: ``input_ids`` and ``attention_mask`` ([n, t] or, for notes
    in chunks, [n, chunks, t]), ``pixel_values`` [n, channels, side, side] or ``features`` [n, d]; gives [n,
    width].

    The backbone is called with the same keywords, chunks as rows of their own. It gives hidden states, [n, t, width]
    or a feature map [n, width, h, w], as a tensor or as transformers' ``last_hidden_state``; for features [n, width],
    as a tensor or ``pooler_output``.
    """

    def __init__(
        self, backbone: nn.Module, *, kind: str, settings: EncoderSettings, spec: InputSpec, width: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.kind, self.settings, self.spec, self.width = kind, settings, spec, width
        self.pooling: TextPooling = getattr(settings, "pooling", "mean")
        self.frozen = bool(getattr(settings, "freeze", False))
        self._counts_rows = any(isinstance(m, GlobalBatchNorm) and not m.frozen for m in backbone.modules())
        if self.frozen:
            self.backbone.requires_grad_(False)
            self.backbone.eval()

    def forward(self, **inputs: Tensor) -> Float[Tensor, "n width"]:
        """One vector per example; an empty batch gives [0, width] and keeps every parameter in the graph."""
        if next(iter(inputs.values())).shape[0] == 0 and not self._counts_rows:
            return self._encode({name: _one_row(name, values) for name, values in inputs.items()})[:0]
        return self._encode(inputs)

    def _encode(self, inputs: Mapping[str, Tensor]) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if self.spec.modality == "text":
                return self._encode_text(inputs["input_ids"], inputs["attention_mask"])
            if self.spec.modality == "features":
                return _of_output(self.backbone(features=inputs["features"]), "pooler_output")
            hidden = _of_output(self.backbone(pixel_values=inputs["pixel_values"]), "last_hidden_state")
        if hidden.ndim == 4:
            return pool_pixels(hidden)
        return pool_tokens(hidden, hidden.new_ones(hidden.shape[:2], dtype=torch.long), self.pooling)

    def _encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Chunks of a note are read apart and pooled together."""
        examples, length = input_ids.shape[0], input_ids.shape[-1]
        flat_mask = attention_mask.reshape(-1, length)
        output = self.backbone(input_ids=input_ids.reshape(-1, length), attention_mask=flat_mask)
        hidden = _of_output(output, "last_hidden_state")
        return pool_tokens(
            hidden.reshape(examples, -1, hidden.shape[-1]), attention_mask.reshape(examples, -1), self.pooling
        )

    def train(self, mode: bool = True) -> Encoder:
        """A frozen backbone stays in evaluation mode: no dropout, no running statistics."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the backbone (safetensors, in Hugging Face's form if it has one) and ``encoder.json`` beside it.

        ``encoder.json`` comes last, when the weights are on the disk: a folder that has it is whole.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / ENCODER_FILE).unlink(missing_ok=True)
        _save_backbone(self.backbone, path)
        for file in path.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        content = {
            "kind": self.kind,
            "settings": self.settings.model_dump(mode="json"),
            "spec": self.spec.to_dict(),
        }
        write_json(path / ENCODER_FILE, content)


def _of_output(output: Any, name: str) -> Tensor:
    """A backbone's tensor, or that field of what a model of transformers returns."""
    return output if isinstance(output, torch.Tensor) else getattr(output, name)


def _one_row(name: str, values: Tensor) -> Tensor:
    """A row for a rank whose share of a batch is empty; it is cut off again.

    transformers' attention cannot reshape an empty batch, and DDP waits for every parameter's gradient: zero
    here. Batch normalisation over the global batch must not see such a row; those backbones take an empty
    batch as it is.
    """
    shape = (1, *values.shape[1:])
    return values.new_ones(shape) if name == "attention_mask" else values.new_zeros(shape)


def _save_backbone(backbone: nn.Module, folder: Path) -> None:
    save = getattr(backbone, "save_pretrained", None)
    if save is None:
        from safetensors.torch import save_model

        save_model(backbone, str(folder / WEIGHTS_FILE))
        return
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # its lines would mix with the study's own
    save(folder)


def build_encoder(kind: str, settings: Mapping[str, object], spec: InputSpec) -> Encoder:
    """Make an encoder for the inputs that ``spec`` describes; its weights come from torch's global generator.

    Args:
        kind: a name of ``sdl_study.models.kinds()``, or a module of one's own.

    Raises:
        UserError: unknown kind or setting, a value out of range, a kind that cannot read such inputs, or (hub)
            weights that are not there or do not fit.
    """
    check_encoder(kind, settings, spec)
    checked, found = parse_encoder_settings(kind, settings), find_kind(kind)
    return _encoder(found, found.build(checked, spec), checked, spec)


def _encoder(kind: EncoderKind, built: Any, settings: EncoderSettings, spec: InputSpec) -> Encoder:
    if not (isinstance(built, tuple) and len(built) == 2):
        raise UserError(f"encoder kind {kind.reference!r}: build returns a pair, the backbone and its width")
    backbone, width = built
    if not isinstance(backbone, nn.Module) or not isinstance(width, int):
        raise UserError(
            f"encoder kind {kind.reference!r}: build returns a torch module and its width, not "
            f"{type(backbone).__name__} and {type(width).__name__}"
        )
    return Encoder(backbone, kind=kind.reference, settings=settings, spec=spec, width=width)


def load_encoder(folder: str | os.PathLike[str]) -> Encoder:
    """Read an encoder that ``Encoder.save_pretrained`` wrote; torch's random state is left as it was.

    Raises:
        UserError: the folder or one of its files is missing or damaged, or its kind's module is gone.
    """
    path = Path(folder)
    try:
        content = json.loads((path / ENCODER_FILE).read_text(encoding="utf-8"))
        kind, spec = find_kind(content["kind"]), InputSpec(**content["spec"])
        settings = parse_encoder_settings(content["kind"], content["settings"])
        with torch.random.fork_rng(devices=[]):
            if kind.load is not None:
                return _encoder(kind, kind.load(settings, spec, path), settings, spec)
            encoder = _encoder(kind, kind.build(settings, spec), settings, spec)
        _load_weights(encoder.backbone, path / WEIGHTS_FILE)
    except UserError as error:
        raise UserError(f"{path} holds an encoder that cannot be read: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} holds no readable encoder saved by this program: {reason}") from error
    return encoder


def _load_weights(backbone: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(backbone, path)
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {error}") from error
