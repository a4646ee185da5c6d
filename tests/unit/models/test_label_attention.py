"""Label attention: by hand, blind to padding, and the same in blocks of labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sdl_study.models import InputSpec, build_encoder
from sdl_study.models.label_attention import LabelAttention
from sdl_study.models.pooling import pool_tokens

SPEC = InputSpec.text(vocab_size=20, pad_token_id=0, max_length=6)


def head(width: int = 4, labels: int = 5, elements: int = 1 << 24) -> LabelAttention:
    torch.manual_seed(0)
    made = LabelAttention(width, labels, elements)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(20)  # far from an even attention
    return made


def states() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    return torch.randn(3, 5, 4, generator=generator), mask


def test_two_tokens_by_hand() -> None:
    """V is the identity; the label attends to tanh of the first number and reads off the second."""
    made = LabelAttention(2, 1)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(2))
        made.attend.weight.copy_(torch.tensor([[1.0, 0.0]]))
        made.decide.weight.copy_(torch.tensor([[0.0, 1.0]]))
        made.decide.bias.fill_(0.25)
    tokens = torch.tensor([[[1.0, 3.0], [-1.0, 5.0]]])
    high, low = math.exp(math.tanh(1.0)), math.exp(math.tanh(-1.0))
    expected = (high * 3.0 + low * 5.0) / (high + low) + 0.25
    assert float(made(tokens, torch.ones(1, 2, dtype=torch.long)).detach()) == pytest.approx(
        expected, rel=1e-6
    )


def test_the_equations_as_they_are_written() -> None:
    """Row by row, with the state of every label, and the tokens that are there alone."""
    made, (tokens, mask) = head(), states()
    for row, (of_row, kept) in enumerate(zip(tokens, mask.bool(), strict=True)):
        hidden = of_row[kept]
        attention = (torch.tanh(hidden @ made.project.weight.T) @ made.attend.weight.T).softmax(dim=0)
        of_labels = attention.T @ hidden
        expected = (of_labels * made.decide.weight).sum(dim=1) + made.decide.bias
        assert torch.allclose(made(tokens, mask)[row], expected, atol=1e-5)


def test_padding_has_no_part_in_it() -> None:
    made, (tokens, mask) = head(), states()
    other = torch.where(mask.unsqueeze(-1).bool(), tokens, torch.full_like(tokens, 1e4))
    assert torch.equal(made(tokens, mask), made(other, mask))
    longer = torch.cat([tokens, torch.ones(3, 2, 4)], dim=1)
    more = torch.cat([mask, torch.zeros(3, 2, dtype=torch.long)], dim=1)
    assert torch.allclose(made(longer, more), made(tokens, mask), atol=1e-5)


def test_a_text_without_a_token_has_the_bias_and_a_gradient() -> None:
    made, (tokens, mask) = head(), states()
    mask[1] = 0
    logits = made(tokens, mask)
    assert torch.equal(logits[1], made.decide.bias)
    logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


def test_blocks_of_labels_change_neither_logits_nor_gradients() -> None:
    found = []
    for elements in (1 << 24, 2 * 15):  # at once, and two of the five labels at a time
        made, (tokens, mask) = head(elements=elements), states()
        tokens.requires_grad_()
        logits = made(tokens, mask)
        logits.square().sum().backward()
        assert tokens.grad is not None
        found.append([logits.detach(), tokens.grad, *(p.grad for p in made.parameters())])
    for first, second in zip(*found, strict=True):
        assert torch.allclose(first, second, rtol=1e-4, atol=1e-5)


def test_states_and_mask_that_do_not_fit_are_refused() -> None:
    tokens, mask = states()
    with pytest.raises(ValueError, match="do not fit the mask"):
        head()(tokens, mask[:, :3])


@pytest.mark.parametrize("chunks", [1, 2])
def test_an_encoder_of_texts_hands_out_its_tokens(chunks: int) -> None:
    """Their pooling is its embedding; notes in chunks are one row of tokens."""
    torch.manual_seed(0)
    encoder = build_encoder("bert", {"width": 8, "heads": 2, "dropout": 0.0}, SPEC).eval()
    shape = (3, 6) if chunks == 1 else (3, chunks, 6)
    inputs = {"input_ids": torch.ones(shape, dtype=torch.long), "attention_mask": torch.ones(shape).long()}
    inputs["attention_mask"][0, ..., 4:] = 0
    tokens, mask = encoder(**inputs, as_tokens=True)
    assert tokens.shape == (3, 6 * chunks, 8)
    assert torch.equal(mask, inputs["attention_mask"].flatten(1))
    assert torch.equal(pool_tokens(tokens, mask, "mean"), encoder(**inputs))
    empty, none = encoder(**{name: values[:0] for name, values in inputs.items()}, as_tokens=True)
    assert (empty.shape, none.shape) == ((0, 6 * chunks, 8), (0, 6 * chunks))


def test_an_encoder_of_features_has_no_tokens() -> None:
    encoder = build_encoder("mlp", {}, InputSpec.features(width=3))
    with pytest.raises(ValueError, match="of features inputs has no tokens"):
        encoder(features=torch.ones(2, 3), as_tokens=True)
