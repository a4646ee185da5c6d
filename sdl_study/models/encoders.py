"""One door to every encoder: ``build_encoder`` makes it, ``load_encoder`` reads a saved one.

transformers is imported inside the builders: its first import takes seconds, paid once by a worker and never
by the driver.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sdl_study.errors import UserError
from sdl_study.models.norm import GlobalBatchNorm
from sdl_study.models.pooling import pool_pixels, pool_tokens
from sdl_study.models.settings import (
    BertSettings,
    ConvSettings,
    EncoderSettings,
    HubSettings,
    MlpSettings,
    ResNetSettings,
    TextPooling,
    parse_encoder_settings,
)
from sdl_study.models.spec import InputSpec

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

ENCODER_FILE = "encoder.json"
WEIGHTS_FILE = "model.safetensors"


class Encoder(nn.Module):
    """A backbone of transformers and the pooling over its output.

    Called with the tensors of a store as keywords: ``input_ids`` and ``attention_mask`` ([n, t] or, for notes
    in chunks, [n, chunks, t]), ``pixel_values`` [n, channels, side, side] or ``features`` [n, d]; gives [n,
    width].
    """

    def __init__(
        self, backbone: PreTrainedModel, *, kind: str, settings: EncoderSettings, spec: InputSpec, width: int
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
        if next(iter(inputs.values())).shape[0] == 0 and not self._counts_rows:
            return self._encode({name: _one_row(name, values) for name, values in inputs.items()})[:0]
        return self._encode(inputs)

    def _encode(self, inputs: Mapping[str, Tensor]) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            if self.spec.modality == "text":
                return self._encode_text(inputs["input_ids"], inputs["attention_mask"])
            name = "pixel_values" if self.spec.modality == "image" else "features"
            output = self.backbone(**{name: inputs[name]})
        if self.spec.modality == "features":
            return output.pooler_output
        hidden = output.last_hidden_state
        if hidden.ndim == 4:
            return pool_pixels(hidden)
        return pool_tokens(hidden, hidden.new_ones(hidden.shape[:2], dtype=torch.long), self.pooling)

    def _encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Chunks of a note are read apart and pooled together."""
        examples, length = input_ids.shape[0], input_ids.shape[-1]
        flat_mask = attention_mask.reshape(-1, length)
        output = self.backbone(input_ids=input_ids.reshape(-1, length), attention_mask=flat_mask)
        hidden = output.last_hidden_state
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
        """Write the backbone in Hugging Face's form (safetensors) and ``encoder.json`` beside it."""
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # its lines would mix with the study's own
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.backbone.save_pretrained(path)
        content = {
            "kind": self.kind,
            "settings": self.settings.model_dump(mode="json"),
            "spec": self.spec.to_dict(),
        }
        temporary = path / (ENCODER_FILE + ".tmp")
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path / ENCODER_FILE)


def _one_row(name: str, values: Tensor) -> Tensor:
    """A row for a rank whose share of a batch is empty; it is cut off again.

    transformers' attention cannot reshape an empty batch, and DDP waits for every parameter's gradient: zero
    here. Batch normalisation over the global batch must not see such a row; those backbones take an empty
    batch as it is.
    """
    shape = (1, *values.shape[1:])
    return values.new_ones(shape) if name == "attention_mask" else values.new_zeros(shape)


def _build_conv(settings: ConvSettings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    from sdl_study.models.backbones import ConvConfig, ConvModel

    config = ConvConfig(
        vocab_size=spec.vocab_size,
        pad_token_id=spec.pad_token_id,
        hidden_size=settings.width,
        kernel_size=settings.kernel,
        num_hidden_layers=settings.layers,
        dropout=settings.dropout,
    )
    return ConvModel(config), settings.width


def _build_bert(settings: BertSettings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(
        "bert",
        vocab_size=spec.vocab_size,
        pad_token_id=spec.pad_token_id,
        max_position_embeddings=spec.max_length,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate or 4 * settings.width,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
    )
    return AutoModel.from_config(config, add_pooling_layer=False), settings.width


def _build_resnet(settings: ResNetSettings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    from sdl_study.models.backbones import NormResNetConfig, NormResNetModel

    config = NormResNetConfig(
        num_channels=spec.channels,
        embedding_size=settings.widths[0],
        hidden_sizes=list(settings.widths),
        depths=list(settings.depths),
        layer_type=settings.block,
        norm=settings.norm,
        norm_groups=settings.groups,
        stem=settings.stem,
    )
    return NormResNetModel(config), settings.widths[-1]


def _build_mlp(settings: MlpSettings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    from sdl_study.models.backbones import MlpConfig, MlpModel

    config = MlpConfig(
        input_size=spec.width,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        dropout=settings.dropout,
    )
    return MlpModel(config), settings.width


def _build_hub(settings: HubSettings, spec: InputSpec) -> tuple[PreTrainedModel, int]:
    from sdl_study.models.hub import load_pretrained

    return load_pretrained(settings, spec)


_BUILDERS: Mapping[str, Callable[[Any, InputSpec], tuple[PreTrainedModel, int]]] = {
    "conv": _build_conv,
    "bert": _build_bert,
    "resnet": _build_resnet,
    "mlp": _build_mlp,
    "hub": _build_hub,
}


def build_encoder(kind: str, settings: Mapping[str, object], spec: InputSpec) -> Encoder:
    """Make an encoder for the inputs that ``spec`` describes; its weights come from torch's global generator.

    Raises:
        UserError: unknown kind or setting, a value out of range, a kind that cannot read such inputs, or
        (hub)
            weights that are not there or do not fit.
    """
    checked = parse_encoder_settings(kind, settings)
    if spec.modality not in checked.modalities:
        raise UserError(
            f"encoder {kind!r} reads {' or '.join(checked.modalities)}, the data set holds {spec.modality}"
        )
    backbone, width = _BUILDERS[kind](checked, spec)
    return Encoder(backbone, kind=kind, settings=checked, spec=spec, width=width)


def load_encoder(folder: str | os.PathLike[str]) -> Encoder:
    """Read an encoder that ``Encoder.save_pretrained`` wrote; torch's random state is left as it was.

    Raises:
        UserError: the folder or one of its files is missing or damaged.
    """
    path = Path(folder)
    try:
        content = json.loads((path / ENCODER_FILE).read_text(encoding="utf-8"))
        kind, settings, spec = content["kind"], content["settings"], InputSpec(**content["spec"])
        with torch.random.fork_rng(devices=[]):
            if kind == "hub":
                return build_encoder(kind, {**settings, "name": str(path), "revision": None}, spec)
            encoder = build_encoder(kind, settings, spec)
        encoder.backbone.load_state_dict(_read_weights(path / WEIGHTS_FILE))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path} holds no readable encoder saved by this program: {reason}") from error
    return encoder


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path.name}: {error}") from error
