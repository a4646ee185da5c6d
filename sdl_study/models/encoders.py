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
from sdl_study.models.frozen import digest_of, example_inputs
from sdl_study.models.layers import Layers, reached_by
from sdl_study.models.norm import GlobalBatchNorm
from sdl_study.models.pooling import pool_pixels, pool_tokens
from sdl_study.models.saved import load_weights, save_backbone
from sdl_study.models.settings import EncoderSettings, TextPooling
from sdl_study.references import is_file

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

ENCODER_FILE = "encoder.json"


class Encoder(nn.Module):
    """A backbone and the pooling over its output.

    Called with the tensors of a store as keywords: ``input_ids`` and ``attention_mask`` ([n, t] or, for notes
    in chunks, [n, chunks, t]), ``pixel_values`` [n, channels, side, side] or ``features`` [n, d]; gives [n,
    width].

    The backbone is called with the same keywords, chunks as rows of their own. It gives hidden states, [n, t, width]
    or a feature map [n, width, h, w], as a tensor or as transformers' ``last_hidden_state``; for features [n, width],
    as a tensor or ``pooler_output``.

    Where its lowest layers are frozen, or all of it is, ``lower`` gives what the frozen part makes of inputs; called
    with that (``hidden`` and ``attention_mask``, or ``embedding``) it goes on from there, with the same numbers.
    """

    def __init__(
        self, backbone: nn.Module, *, kind: str, settings: EncoderSettings, spec: InputSpec, width: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.kind, self.settings, self.spec, self.width = kind, settings, spec, width
        self.pooling: TextPooling = getattr(settings, "pooling", "mean")
        self.frozen = bool(getattr(settings, "freeze", False))
        self.layers = Layers.of(backbone)
        self.frozen_layers = 0 if self.frozen else int(getattr(settings, "frozen_layers", 0))
        if self.frozen_layers:
            self._freeze_lowest()
        self._counts_rows = any(isinstance(m, GlobalBatchNorm) and not m.frozen for m in backbone.modules())
        if self.frozen:
            self.backbone.requires_grad_(False)
        self._rest()

    def _freeze_lowest(self) -> None:
        """Freeze the embeddings and the lowest layers; all of the encoder where nothing else would be trained."""
        if self.layers is None or self.frozen_layers > len(self.layers):
            number = "no layers that can be told" if self.layers is None else f"{len(self.layers)} layers"
            raise UserError(f"frozen_layers is {self.frozen_layers}, the encoder has {number}")
        device = next(self.backbone.parameters()).device
        self.layers.freeze(self.frozen_layers, example_inputs(self.spec, device))
        self.frozen = not any(parameter.requires_grad for parameter in self.backbone.parameters())

    @property
    def can_split(self) -> bool:
        """Whether ``lower`` is there: something is frozen, and the rest of this model can run without it."""
        return self.frozen or bool(self.frozen_layers and self.layers is not None and self.layers.can_split)

    def lower(self, **inputs: Tensor) -> dict[str, Tensor]:
        """What the frozen part makes of a store's inputs, without gradient.

        Returns:
            ``embedding`` [n, width] of a frozen encoder. Otherwise ``hidden``: [n, t, width], for notes in chunks
            [n, chunks, t, width], for convolutional models [n, width, h, w].

        Raises:
            ValueError: nothing is frozen, or the model does not run in two parts (``can_split``).
        """
        if not self.can_split:
            raise ValueError("this encoder has no frozen part that runs by itself")
        if next(iter(inputs.values())).shape[0] == 0:
            one = self.lower(**{name: _one_row(name, values) for name, values in inputs.items()})
            return {name: values[:0] for name, values in one.items()}
        with torch.no_grad():
            if self.frozen:
                return {"embedding": self(**inputs)}
            assert self.layers is not None
            hidden = self.layers.lower(self.frozen_layers, _as_rows(inputs))
        ids = inputs.get("input_ids")
        return {"hidden": hidden if ids is None else hidden.reshape(*ids.shape, hidden.shape[-1])}

    def frozen_key(self) -> str | None:
        """Digest of the frozen part, the same in every process; None where nothing is frozen.

        Of its weights and configuration, and of the pooling where all is frozen.
        """
        if not (self.frozen or self.frozen_layers):
            return None
        inputs = example_inputs(self.spec, next(self.backbone.parameters()).device)
        if not self.frozen:
            assert self.layers is not None
            state = self.layers.state_below(self.frozen_layers, inputs)
            return digest_of(self.backbone, state, [self.frozen_layers])
        # A pooler that the file does not hold is made up at random, and nothing of it is used.
        used = reached_by(self.backbone, lambda: self._hidden(inputs))
        buffers = dict(self.backbone.named_buffers())
        state = self.backbone.state_dict()
        kept = {name: values for name, values in state.items() if name in used or name in buffers}
        return digest_of(self.backbone, kept, [self.pooling])

    def layer_of(self, name: str) -> int:
        """Depth of one of the encoder's parameters, as ``named_parameters`` calls it, for layer-wise learning rates.

        Returns:
            0 for the embeddings, 1 to ``num_layers`` for the layers, ``num_layers`` + 1 for all above; that, too,
            where the layers cannot be told.
        """
        inner = name.removeprefix("backbone.")
        return 1 if self.layers is None else self.layers.depth_of(inner)

    @property
    def num_layers(self) -> int:
        """Number of layers (stages of a convolutional model); 0 where they cannot be told."""
        return 0 if self.layers is None else len(self.layers)

    def forward(
        self, *, as_tokens: bool = False, **inputs: Tensor
    ) -> Float[Tensor, "n width"] | tuple[Float[Tensor, "n t width"], Int[Tensor, "n t"]]:
        """One vector per example; an empty batch gives [0, width] and keeps every parameter in the graph.

        Args:
            as_tokens: give the states of all tokens of texts, those of all chunks in a row, [n, t, width], and which
                are no padding, [n, t], instead.
        """
        if next(iter(inputs.values())).shape[0] == 0 and not self._counts_rows:
            one = {name: _one_row(name, values) for name, values in inputs.items()}
            if as_tokens:
                states, mask = self._tokens(one)
                return states[:0], mask[:0]
            return self._encode(one)[:0]
        return self._tokens(inputs) if as_tokens else self._encode(inputs)

    def _tokens(self, inputs: Mapping[str, Tensor]) -> tuple[Float[Tensor, "n t width"], Int[Tensor, "n t"]]:
        if self.spec.modality != "text":
            raise ValueError(f"an encoder of {self.spec.modality} inputs has no tokens")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            hidden, mask = self._hidden(_as_rows(inputs)), inputs["attention_mask"].flatten(1)
            return hidden.reshape(*mask.shape, hidden.shape[-1]), mask

    def _encode(self, inputs: Mapping[str, Tensor]) -> Tensor:
        if "embedding" in inputs:
            return inputs["embedding"]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if self.spec.modality == "text":
                return pool_tokens(*self._tokens(inputs), self.pooling)
            hidden = self._hidden(_as_rows(inputs))
            if self.spec.modality == "features":
                return hidden
            if hidden.ndim == 4:
                return pool_pixels(hidden)
            return pool_tokens(hidden, hidden.new_ones(hidden.shape[:2], dtype=torch.long), self.pooling)

    def _hidden(self, rows: Mapping[str, Tensor]) -> Tensor:
        """The backbone's states of texts with chunks as rows of their own, images or features."""
        field = "pooler_output" if self.spec.modality == "features" else "last_hidden_state"
        if "hidden" not in rows:
            return _of_output(self.backbone(**rows), field)
        assert self.layers is not None
        return _of_output(
            self.layers.upper(self.frozen_layers, rows["hidden"], rows.get("attention_mask")), field
        )

    def train(self, mode: bool = True) -> Encoder:
        """A frozen part stays in evaluation mode: no dropout, no running statistics."""
        super().train(mode)
        self._rest()
        return self

    def _rest(self) -> None:
        if self.frozen:
            self.backbone.eval()
        elif self.frozen_layers and self.layers is not None:
            for part in self.layers.lowest(self.frozen_layers):
                part.eval()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the backbone (safetensors, in Hugging Face's form if it has one) and ``encoder.json`` beside it.

        ``encoder.json`` comes last, when the weights are on the disk: a folder that has it is whole.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / ENCODER_FILE).unlink(missing_ok=True)
        save_backbone(self.backbone, path)
        for file in path.rglob("*"):
            if file.is_file():
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


def _as_rows(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inputs of texts with chunks as rows of their own; others as they are."""
    mask = inputs.get("attention_mask")
    if mask is None or mask.ndim == 2:
        return dict(inputs)
    return {name: values.flatten(0, 1) for name, values in inputs.items()}


def _one_row(name: str, values: Tensor) -> Tensor:
    """A row for a rank whose share of a batch is empty; it is cut off again.

    transformers' attention cannot reshape an empty batch, and DDP waits for every parameter's gradient: zero
    here. Batch normalisation over the global batch must not see such a row; those backbones take an empty
    batch as it is.
    """
    shape = (1, *values.shape[1:])
    return values.new_ones(shape) if name == "attention_mask" else values.new_zeros(shape)


def build_encoder(kind: str, settings: Mapping[str, object], spec: InputSpec) -> Encoder:
    """Make an encoder for the inputs that ``spec`` describes; its weights come from torch's global generator.

    Args:
        kind: a name of ``sdl_study.models.kind_names()``, or a module of one's own.

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
        reference = str(content["kind"])
        if is_file(reference):  # of an exported encoder it came along
            reference = str(path / reference)
        kind, spec = find_kind(reference), InputSpec(**content["spec"])
        settings = parse_encoder_settings(reference, content["settings"])
        with torch.random.fork_rng(devices=[]):
            if kind.load is not None:
                return _encoder(kind, kind.load(settings, spec, path), settings, spec)
            encoder = _encoder(kind, kind.build(settings, spec), settings, spec)
        load_weights(encoder.backbone, path)
    except UserError as error:
        raise UserError(f"{path} holds an encoder that cannot be read: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} holds no readable encoder saved by this program: {reason}") from error
    return encoder
