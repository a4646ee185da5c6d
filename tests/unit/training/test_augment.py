"""Augmented views: what happens to an example follows from seed, step and place alone, and is what is asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sdl_study.training.augment import RECIPES, Augmentation, Recipe, _colour_map, _cropped, _hue

STRENGTHS = sorted(RECIPES)


def photographs(count: int = 6, side: int = 32) -> Tensor:
    """Smooth pictures, whose pixels differ everywhere."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 255
    return functional.interpolate(coarse, size=(side, side), mode="bilinear").to(torch.uint8)


def drawn(**values: float) -> dict[str, Tensor]:
    """Draws in the middle of every range but for those that are given."""
    names = ("flip", "area", "ratio", "left", "top", "brightness", "contrast", "saturation", "hue")
    middle = dict.fromkeys(names, 0.5) | {"recoloured": 0.0, "grey": 0.9}
    return {name: torch.tensor([value]) for name, value in (middle | values).items()}


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_view_depends_on_nothing_but_seed_step_and_place(strength: str) -> None:
    pixels, positions = photographs(), np.array([4, 9, 0, 2, 7, 5])
    augment = Augmentation(strength, 2, seed=3)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    together = augment(pixels, (1, 5), positions).view(2, 6, 3, 32, 32)
    assert torch.equal(torch.random.get_rng_state(), state)
    for part in (slice(0, 2), slice(2, 3), slice(3, 6), slice(6, 6)):  # as other ranks would hold them
        apart = augment(pixels[part], (1, 5), positions[part])
        torch.testing.assert_close(apart.view(2, -1, 3, 32, 32), together[:, part], rtol=0, atol=1e-3)
    order = [3, 5, 1, 0, 2, 4]
    other = augment(pixels[order], (1, 5), positions[order]).view(2, 6, 3, 32, 32)
    torch.testing.assert_close(other, together[:, order], rtol=0, atol=1e-3)
    assert torch.equal(Augmentation(strength, 2, seed=3)(pixels, (1, 5), positions), together.flatten(0, 1))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_seed_epoch_step_and_place_each_change_the_views(strength: str) -> None:
    pixels, positions = photographs(1).expand(32, -1, -1, -1), np.arange(32)
    first = Augmentation(strength, 1, seed=3)(pixels, (1, 5), positions)
    for seed, step, places in (
        (4, (1, 5), positions),
        (3, (2, 5), positions),
        (3, (1, 6), positions),
        (3, (1, 5), positions + 1),
    ):
        other = Augmentation(strength, 1, seed=seed)(pixels, step, places)
        changed = (other - first).abs().amax(dim=(1, 2, 3)) > 1
        assert 4 < changed.sum() <= 32
    assert not torch.equal(first[0], first[1]) or not torch.equal(first[1], first[2])


def test_flips_mirror_half_of_the_images_and_change_no_pixel() -> None:
    pixels = photographs(64)
    views = Augmentation("flip", 1, seed=0)(pixels, (1, 0), np.arange(64))
    kept = (views == pixels).all(dim=(1, 2, 3))
    mirrored = (views == pixels.flip(3)).all(dim=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 20 < kept.sum() < 44


@pytest.mark.parametrize("strength", STRENGTHS)
def test_values_stay_within_those_of_bytes(strength: str) -> None:
    extreme = (torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(2)) > 0.5).to(
        torch.uint8
    ) * 255
    views = Augmentation(strength, 2, seed=0)(extreme, (1, 0), np.arange(40))
    assert views.dtype == torch.float32
    assert views.shape == (80, 3, 16, 16)
    assert 0 <= views.min() < views.max() <= 255


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_is_that_part_of_the_image_scaled_up(mirrored: bool) -> None:
    values = photographs(1, side=64).float()
    draws = drawn(area=(0.25 - 0.2) / 0.8, left=1.0, top=0.0)
    view = _cropped(values, draws, torch.tensor([mirrored]), Recipe(least_area=0.2))
    expected = functional.interpolate(values[:, :, :32, 32:], size=(64, 64), mode="bilinear")
    inner = (..., slice(1, -1), slice(1, -1))  # at its edges a crop sees what lies beyond
    torch.testing.assert_close(
        (view.flip(3) if mirrored else view)[inner], expected[inner], rtol=0, atol=1e-2
    )


def test_crops_take_the_shares_that_are_asked_for() -> None:
    """Of a ramp from left to right, the range of values tells the width, which goes from corner to corner."""
    ramp = torch.linspace(0, 255, 64).to(torch.uint8).expand(400, 3, 64, 64)
    steep = torch.cat([ramp[:, :1], ramp[:, :1].transpose(2, 3), ramp[:, :1]], dim=1)
    recipe = RECIPES["strong"]
    draws = {
        name: torch.rand(400, generator=torch.Generator().manual_seed(i)) for i, name in enumerate(drawn())
    }
    views = _cropped(steep.float(), draws, torch.zeros(400, dtype=torch.bool), recipe)
    spread = views.amax(dim=(2, 3)) - views.amin(dim=(2, 3))
    area = (spread[:, 0] / 252) * (spread[:, 1] / 252)
    assert area.min() > recipe.least_area - 0.03
    assert area.min() < recipe.least_area + 0.05
    assert area.max() > 0.9
    assert 0.4 < area.mean() < 0.65
    ratio = spread[:, 0] / spread[:, 1]
    assert ratio.min() > 0.7
    assert ratio.max() < 1.4
    assert views[:, 0].amin() < 5
    assert views[:, 0].amax() > 250


def grey_of(values: Tensor) -> Tensor:
    weights = values.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (values * weights).sum(dim=-3, keepdim=True)


def test_colours_change_step_by_step_as_they_are_defined() -> None:
    """Brightness, contrast and saturation by their definitions, one after the other, without any matrix."""
    values = photographs(1).double()
    recipe = Recipe(colour=0.4, recoloured=1.0)
    draws = {
        name: value.double() for name, value in drawn(brightness=0.9, contrast=0.1, saturation=0.7).items()
    }
    brightness, contrast, saturation = 1.32, 0.68, 1.16
    expected = values * brightness
    expected = contrast * expected + (1 - contrast) * grey_of(expected).mean(dim=(2, 3), keepdim=True)
    expected = saturation * expected + (1 - saturation) * grey_of(expected)
    turn, shift = _colour_map(values.mean(dim=(2, 3)), draws, recipe)
    found = torch.einsum("nij,njhw->nihw", turn, values) + shift.view(1, 3, 1, 1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-4)


def test_hue_turns_colours_about_the_greys() -> None:
    third = _hue(torch.tensor([2 * math.pi / 3]))[0]
    torch.testing.assert_close(third @ torch.eye(3), torch.eye(3)[[2, 0, 1]], atol=1e-6, rtol=0)
    turned = _hue(torch.tensor([0.3]))[0]
    torch.testing.assert_close(turned @ torch.ones(3), torch.ones(3))
    torch.testing.assert_close(turned @ turned.T, torch.eye(3), atol=1e-6, rtol=0)


def test_shares_of_the_views_that_are_recoloured_and_grey() -> None:
    pixels = photographs(1).expand(600, -1, -1, -1)
    views = Augmentation("strong", 1, seed=1)(pixels, (1, 0), np.arange(600))
    grey = (views.amax(dim=1) - views.amin(dim=1)).amax(dim=(1, 2)) < 0.01
    assert 0.15 < grey.float().mean() < 0.25
    mean = views.mean(dim=(2, 3))
    flat = torch.full((600, 3, 8, 8), 100, dtype=torch.uint8)
    same = (Augmentation("standard", 1, seed=1)(flat, (1, 0), np.arange(600)) - 100).abs().amax(
        dim=(1, 2, 3)
    ) < 0.01
    assert 0.15 < same.float().mean() < 0.25  # brightness changes a flat image, cropping and mirroring do not
    assert mean.std(dim=0).min() > 5


def test_two_views_of_an_example_differ() -> None:
    views = Augmentation("strong", 2, seed=0)(photographs(), (1, 0), np.arange(6)).view(2, 6, -1)
    assert ((views[0] - views[1]).abs().amax(dim=1) > 1).all()
