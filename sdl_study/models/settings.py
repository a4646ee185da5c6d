"""What the settings of every kind of encoder are made of; imports neither torch nor transformers.

The configuration uses them to refuse a bad setting before anything starts; a kind's ``build`` reads the checked
object.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sdl_study.input_spec import Modality

TextPooling = Literal["mean", "cls", "last"]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Size = Annotated[int, Field(ge=1, strict=True)]


def _sizes_from_text(value: object) -> object:
    """A search space and a command line write a list of sizes as one word: "16-32-64"."""
    if isinstance(value, str):
        parts = value.replace(",", "-").split("-")
        return tuple(int(part) if part.strip().isdigit() else part for part in parts)
    return value


def _names_from_text(value: object) -> object:
    """A command line writes a list of names as one word: "a,b"."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_names_from_text)]
Sizes = Annotated[tuple[Size, ...], BeforeValidator(_sizes_from_text), Field(min_length=1)]


class EncoderSettings(BaseModel):
    """What all kinds share: unknown names are refused, values never change after the check.

    A kind's own class adds its fields and says in ``modalities`` what it reads. Three names have a meaning for every
    kind: ``pooling`` (how token states become one vector; the mean without it), ``freeze`` (the weights stay) and
    ``frozen_layers`` (those of the embeddings and the lowest layers stay).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    modalities: ClassVar[tuple[Modality, ...]]

    @property
    def published_weights(self) -> bool:
        """Whether ``build`` gives weights that others trained; not, unless a kind's own class says so."""
        return False

    def located(self) -> dict[str, object]:
        """Settings that name a folder by a relative path, with the path made absolute: a worker starts elsewhere."""
        return {}
