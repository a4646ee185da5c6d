"""Augmented views of images: cropped, flipped and recoloured on tensors, the whole batch at once.

What happens to an example follows from the job's seed, the step and the example's place in train: not from the rank
that holds it, nor from what stands beside it. Torch's own generators are not touched.

Sources: random resized crops as Szegedy et al. 2015 (arXiv 1409.4842), the strengths of "strong" as Chen et al. 2020
(SimCLR, arXiv 2002.05709) for Khosla et al. 2020 (arXiv 2004.11362), colours as affine maps of a pixel as Karras et
al. 2020 (arXiv 2006.06676, appendix B). Brightness, contrast, saturation and hue always come in this order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional

from sdl_study.seeds import derive_seed

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8
    from torch import Tensor

Strength = Literal["none", "flip", "standard", "strong"]

_LUMA = (0.299, 0.587, 0.114)
_FLIP = 0.5
_LONGEST_SIDE_RATIO = 4 / 3


@dataclass(frozen=True)
class Recipe:
    """How strongly views are changed.

    Attributes:
        least_area: a crop takes at least this share of the image; 1 crops nothing.
        colour: largest relative change of brightness, contrast and saturation.
        hue: largest turn of the hue, in whole turns.
        recoloured, grey: shares of the views that get other colours, and that lose them.
    """

    least_area: float = 1.0
    colour: float = 0.0
    hue: float = 0.0
    recoloured: float = 0.0
    grey: float = 0.0


RECIPES = {
    "flip": Recipe(),
    "standard": Recipe(least_area=0.5, colour=0.2, hue=0.02, recoloured=0.8),
    "strong": Recipe(least_area=0.2, colour=0.4, hue=0.1, recoloured=0.8, grey=0.2),
}
# The numbers that decide a view, each in [0, 1).
_DRAWS: tuple[str, ...] = (
    "flip", "area", "ratio", "left", "top", "recoloured", "brightness", "contrast", "saturation", "hue", "grey",
)  # fmt: skip


class Augmentation:
    """Views of a batch of images.

    Args:
        strength: one of ``RECIPES``.
        views: how many of every example.
        seed: the job's.
    """

    def __init__(self, strength: str, views: int, seed: int) -> None:
        self.recipe, self.views = RECIPES[strength], views
        self._seed = derive_seed(seed, "augmentation")

    def __call__(
        self, pixels: UInt8[Tensor, "n 3 h w"], step: tuple[int, int], positions: Int[np.ndarray, " n"]
    ) -> Float[Tensor, "m 3 h w"]:
        """The first view of every example, then the second ones; values in [0, 255].

        Args:
            step: the epoch and the step's number in it.
            positions: places of the examples in train.
        """
        if not len(positions):  # a rank's share of a short last batch; grids cannot be empty
            return pixels.float()
        draws = self._draws(step, positions, pixels.device)
        return torch.cat([self._view(pixels, draws[:, view]) for view in range(self.views)])

    def _draws(
        self, step: tuple[int, int], positions: Int[np.ndarray, " n"], device: torch.device
    ) -> Float[Tensor, "n views draws"]:
        shape = (self.views, len(_DRAWS))
        found = np.empty((len(positions), *shape), dtype=np.float32)
        for row, position in enumerate(positions.tolist()):
            found[row] = np.random.default_rng([self._seed, *step, position]).random(shape, dtype=np.float32)
        return torch.from_numpy(found).to(device)

    def _view(
        self, pixels: UInt8[Tensor, "n 3 h w"], draws: Float[Tensor, "n draws"]
    ) -> Float[Tensor, "n 3 h w"]:
        recipe, drawn = self.recipe, dict(zip(_DRAWS, draws.unbind(dim=1), strict=True))
        values = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        flipped = drawn["flip"] < _FLIP
        if recipe.least_area < 1:
            values = _cropped(values, drawn, flipped, recipe)
        else:
            values = torch.where(flipped.view(-1, 1, 1, 1), values.flip(3), values)
        return _recoloured(values, drawn, recipe) if recipe.recoloured or recipe.grey else values


def _cropped(
    values: Float[Tensor, "n 3 h w"], drawn: dict[str, Tensor], flipped: Tensor, recipe: Recipe
) -> Float[Tensor, "n 3 h w"]:
    """A part of every image, scaled to the image's size, some of them mirrored."""
    area = recipe.least_area + (1 - recipe.least_area) * drawn["area"]
    ratio = torch.exp(math.log(_LONGEST_SIDE_RATIO) * (2 * drawn["ratio"] - 1))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    theta = values.new_zeros(len(values), 2, 3)
    theta[:, 0, 0] = torch.where(flipped, -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (1 - width) * (2 * drawn["left"] - 1)
    theta[:, 1, 2] = (1 - height) * (2 * drawn["top"] - 1)
    grid = functional.affine_grid(theta, list(values.shape), align_corners=False)
    return functional.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _recoloured(
    values: Float[Tensor, "n 3 h w"], drawn: dict[str, Tensor], recipe: Recipe
) -> Float[Tensor, "n 3 h w"]:
    """Every pixel by its image's own affine map of colours, cut off at 0 and 255."""
    turn, shift = _colour_map(values.mean(dim=(2, 3)), drawn, recipe)
    changed = torch.baddbmm(shift.unsqueeze(2), turn, values.flatten(2))
    return changed.clamp_(0, 255).view_as(values)


def _colour_map(
    mean: Float[Tensor, "n 3"], drawn: dict[str, Tensor], recipe: Recipe
) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3"]]:
    """Matrix and shift of every image, from the mean of its channels."""
    luma, identity = mean.new_tensor(_LUMA), torch.eye(3, device=mean.device)
    brightness, contrast, saturation = (
        1 + recipe.colour * (2 * drawn[name].view(-1, 1, 1) - 1)
        for name in ("brightness", "contrast", "saturation")
    )
    to_grey = luma.expand(3, 3)
    colours = _hue(2 * math.pi * recipe.hue * (2 * drawn["hue"] - 1)) @ (
        saturation * identity + (1 - saturation) * to_grey
    )
    turn = brightness * contrast * colours
    # Contrast pulls towards the image's mean luminance, which neither saturation nor hue moves: all is grey there.
    middle = brightness.view(-1) * (mean @ luma)
    shift = ((1 - contrast.view(-1)) * middle).unsqueeze(1).expand(-1, 3)
    kept = drawn["recoloured"] >= recipe.recoloured
    turn = torch.where(kept.view(-1, 1, 1), identity, turn)
    shift = torch.where(kept.view(-1, 1), torch.zeros_like(shift), shift)
    grey = drawn["grey"] < recipe.grey
    turn = torch.where(grey.view(-1, 1, 1), to_grey @ turn, turn)
    return turn, shift  # a shift is the same for all channels, so that grey leaves it


def _hue(angle: Float[Tensor, " n"]) -> Float[Tensor, "n 3 3"]:
    """Rotations of the colours about the axis of the greys."""
    ones = torch.full((3, 3), 1 / 3, device=angle.device)
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=angle.device)
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    return cos * torch.eye(3, device=angle.device) + (1 - cos) * ones + sin / math.sqrt(3) * across
