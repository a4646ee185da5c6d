"""What an arm trains: an encoder with the head that its loss needs, and the loss. The only place that reads arms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional

from sdl_study.arms import Arm
from sdl_study.config import Settings
from sdl_study.errors import UserError
from sdl_study.losses import LabelSets
from sdl_study.losses.catalogue import find_loss
from sdl_study.losses.joint import JointLoss
from sdl_study.models import InputSpec, JointHead, LinearHead, ProjectionHead, build_encoder
from sdl_study.models.label_attention import LabelAttention
from sdl_study.models.pooling import pool_tokens
from sdl_study.seeds import derive_seed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class PretrainingModel(nn.Module):
    """Encoder and head; a contrastive arm's outputs have unit length (the losses take embeddings as given)."""

    def __init__(self, encoder: nn.Module, head: nn.Module, unit_length: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.unit_length = encoder, head, unit_length

    @property
    def projection(self) -> ProjectionHead | None:
        """The part of the head in whose space a contrastive loss is taken; None where there is none."""
        head = self.head.projection if isinstance(self.head, JointHead) else self.head
        return head if isinstance(head, ProjectionHead) else None

    def forward(
        self, inputs: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "n outputs"], Float[Tensor, "n width"]]:
        """Outputs of the head for the loss, and the encoder's embeddings."""
        embeddings = self.encoder(**inputs)
        return self.outputs(embeddings), embeddings

    def outputs(self, embeddings: Float[Tensor, "n width"]) -> Float[Tensor, "n outputs"]:
        """Outputs of the head for the loss."""
        outputs = self.head(embeddings)
        return functional.normalize(outputs.float(), dim=1) if self.unit_length else outputs


class TokenModel(PretrainingModel):
    """Encoder of texts and a head that looks at the states of all tokens."""

    def forward(
        self, inputs: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "n outputs"], Float[Tensor, "n width"]]:
        """Outputs of the head for the loss, and the encoder's embeddings."""
        states, mask = self.encoder(**inputs, as_tokens=True)
        pooled = pool_tokens(states, mask, self.encoder.pooling)  # type: ignore[arg-type]
        return self.head(states, mask), pooled.detach()


def build_model(
    arm: Arm, seed: int, settings: Settings, spec: InputSpec, num_labels: int
) -> PretrainingModel:
    """The model of an arm, initialised from a job's seed: the same weights on every rank.

    Raises:
        UserError: an arm with a contrastive loss would train its heads alone, which are not kept.
    """
    torch.manual_seed(derive_seed(seed, "initialisation"))
    model = settings.model
    chosen = dict(model.encoders[model.encoder])
    encoder = build_encoder(chosen.pop("kind"), chosen, spec)
    if arm.pretraining == "supervised":
        return PretrainingModel(encoder, LinearHead(encoder.width, num_labels), unit_length=False)
    if not any(parameter.requires_grad for parameter in encoder.parameters()):
        raise UserError(
            f"model.encoders.{model.encoder}: nothing of it is trained, so that arm {arm.name} would train nothing "
            "that is kept; freeze less of it"
        )
    projection = model.projection
    head = ProjectionHead(encoder.width, projection.hidden, projection.features, projection.norm)
    if arm.pretraining == "joint":
        both = JointHead(head, LinearHead(encoder.width, num_labels))
        return PretrainingModel(encoder, both, unit_length=False)  # the head sees to its own part
    return PretrainingModel(encoder, head, unit_length=True)


def with_head(
    model: PretrainingModel, head: Literal["linear", "label_attention"], num_labels: int, seed: int
) -> PretrainingModel:
    """A model's encoder with a new classification head, initialised from a job's seed; it is not moved to a device.

    Raises:
        UserError: a head that attends to tokens, on an encoder of something else than texts.
    """
    torch.manual_seed(derive_seed(seed, "head"))
    encoder: Any = model.encoder
    if head == "linear":
        return PretrainingModel(encoder, LinearHead(encoder.width, num_labels), unit_length=False)
    if encoder.spec.modality != "text":
        raise UserError("finetune.head: label_attention reads the tokens of texts; set it to linear")
    return TokenModel(encoder, LabelAttention(encoder.width, num_labels), unit_length=False)


def start_at_frequencies(
    model: PretrainingModel, train_labels: LabelSets, settings: Settings
) -> PretrainingModel:
    """A model whose classification head, if it has one, gives each label its frequency in train before the first step
    (``train.head_bias``).

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv 1708.02002, section 3.3, where one frequency
    stands for all classes.
    """
    if settings.train.head_bias == "prior":
        counts = torch.from_numpy(train_labels.counts())
        odds = torch.log(counts + 0.5) - torch.log(len(train_labels) - counts + 0.5)
        for head in model.head.modules():
            if isinstance(head, LinearHead | LabelAttention):
                with torch.no_grad():
                    head.bias.copy_(odds)
    return model


def build_loss(arm: Arm, settings: Settings) -> Any:
    """The loss of an arm: called with a rank's outputs and label sets, it gives the global batch's value.

    It also notes ``valid_anchor_fraction``, the share of the batch's rows that take part as anchors. Of the settings
    that are given for losses it takes those that its own has.
    """
    kind = find_loss(arm.loss)
    loss: Any = kind.build(arm.loss_settings(settings.loss, kind.settings))
    if arm.joint is None:
        return loss
    features = settings.model.projection.features
    return JointLoss(classification_loss(arm.joint, settings), loss, settings.train.joint_weight, features)


def classification_loss(name: str, settings: Settings) -> Any:
    """A classification loss by its name, with those of the settings given for losses that it has."""
    kind = find_loss(name)
    return kind.build({key: value for key, value in settings.loss.items() if key in kind.settings})
