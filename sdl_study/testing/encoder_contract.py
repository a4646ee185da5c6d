"""What every encoder has to keep, as tests that a kind of one's own inherits.

    class TestMine(EncoderContract):
        kind = "my_package.my_kind"  # or "folder/my_kind.py", or a name of sdl_study.models.kind_names()
        settings = {"width": 16}
        spec = InputSpec.text(vocab_size=50, pad_token_id=0, max_length=12)

pytest collects the methods. What a class cannot know when it is written (a temporary folder) an ``autouse`` fixture
of the subclass may set on ``self``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sdl_study.input_spec import InputSpec
    from sdl_study.models import Encoder

_ROWS = 4


def example_inputs(spec: InputSpec, rows: int = _ROWS) -> dict[str, Tensor]:
    """Inputs as a store gives them, the same at every call; texts of 1, 2, 3, ... tokens, padded to the longest.

    Returns:
        ``input_ids`` and ``attention_mask`` [rows, max_length], ``pixel_values`` [rows, channels, side, side] or
        ``features`` [rows, width].
    """
    generator = torch.Generator().manual_seed(5)
    if spec.modality == "image":
        shape = (rows, spec.channels, spec.image_size, spec.image_size)
        return {"pixel_values": torch.randn(shape, generator=generator)}
    if spec.modality == "features":
        return {"features": torch.randn(rows, spec.width, generator=generator)}
    ids = torch.randint(spec.vocab_size - 1, (rows, spec.max_length), generator=generator)
    ids = ids + (ids >= spec.pad_token_id).long()  # any token but the padding
    lengths = torch.arange(1, rows + 1).clamp(max=spec.max_length)
    mask = (torch.arange(spec.max_length) < lengths.unsqueeze(1)).long()
    return {"input_ids": torch.where(mask.bool(), ids, spec.pad_token_id), "attention_mask": mask}


class EncoderContract:
    """Tests of one encoder: subclass, and say which.

    Attributes:
        kind: name, module or file of the kind.
        settings: its settings.
        spec: the inputs that it is tried with.
        saved_within: how far the embeddings of a saved encoder, read again, may be from the ones before; not at all,
            but for one that is saved in another form (adapters merged into the weights).
    """

    kind: str
    settings: Mapping[str, object] = {}
    spec: InputSpec
    saved_within: float = 0.0

    def make(self, **changes: object) -> Encoder:
        """The encoder with other settings, from one seed."""
        torch.manual_seed(0)
        return _models().build_encoder(self.kind, {**self.settings, **changes}, self.spec)

    def test_it_gives_a_finite_vector_of_its_width_for_every_example(self) -> None:
        encoder = self.make()
        embeddings = encoder(**example_inputs(self.spec))
        assert embeddings.shape == (_ROWS, encoder.width)
        assert embeddings.dtype == torch.float32
        assert torch.isfinite(embeddings).all()
        assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}

    def test_examples_get_different_vectors(self) -> None:
        embeddings = self.make().eval()(**example_inputs(self.spec))
        assert (embeddings[0] - embeddings[1]).abs().max() > 1e-6, "its inputs do not matter to it"

    def test_neither_padding_nor_neighbours_count_in_evaluation(self) -> None:
        """An embedding is that of its example, whatever stands beside it in the batch or behind it as padding."""
        encoder, inputs = self.make().eval(), example_inputs(self.spec)
        together = encoder(**inputs)
        for row in range(_ROWS):
            alone = {name: values[row : row + 1] for name, values in inputs.items()}
            if "attention_mask" in alone:
                length = int(alone["attention_mask"].sum())
                alone = {name: values[:, :length] for name, values in alone.items()}
            torch.testing.assert_close(encoder(**alone)[0], together[row], rtol=1e-4, atol=1e-5)
        if "attention_mask" in inputs:
            other = (self.spec.pad_token_id + 1) % self.spec.vocab_size
            garbage = torch.where(inputs["attention_mask"].bool(), inputs["input_ids"], other)
            seen = encoder(input_ids=garbage, attention_mask=inputs["attention_mask"])
            torch.testing.assert_close(seen, together, rtol=1e-4, atol=1e-5)

    def test_a_rank_without_rows_keeps_every_parameter_in_the_graph(self) -> None:
        """The last batch of an epoch may be smaller than the number of ranks; DDP waits for every gradient."""
        encoder = self.make()
        before = {name: values.clone() for name, values in encoder.named_buffers()}
        empty = {name: values[:0] for name, values in example_inputs(self.spec).items()}
        embeddings = encoder(**empty)
        assert embeddings.shape == (0, encoder.width)
        if embeddings.requires_grad:
            embeddings.sum().backward()
        for name, parameter in encoder.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{name} is not in the graph"
                assert not parameter.grad.any(), name
        for name, values in encoder.named_buffers():
            assert torch.equal(values, before[name]), f"an empty batch changed {name}"

    def test_one_step_changes_the_weights_and_every_trainable_one_gets_a_gradient(self) -> None:
        """A parameter without gradient makes data-parallel training wait for ever; one that is frozen stays."""
        encoder = self.make().train()
        before = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}
        trainable = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
        if not trainable:
            assert not encoder(**example_inputs(self.spec)).requires_grad
            return
        optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
        encoder(**example_inputs(self.spec)).square().sum().backward()
        for name, parameter in trainable.items():
            assert parameter.grad is not None, f"{name} gets no gradient: freeze it"
            assert torch.isfinite(parameter.grad).all(), name
        optimizer.step()
        changed = {name for name, p in encoder.named_parameters() if not torch.equal(p, before[name])}
        assert changed, "a step changed nothing"
        assert changed <= set(trainable), "a frozen weight changed"

    def test_a_saved_encoder_is_read_again(self, tmp_path: Path) -> None:
        encoder, inputs = self.make().train(), example_inputs(self.spec)
        encoder(**inputs)  # running statistics, where there are any, that differ from the first ones
        encoder.save_pretrained(tmp_path / "encoder")
        state = torch.random.get_rng_state()
        loaded = _models().load_encoder(tmp_path / "encoder")
        assert torch.equal(torch.random.get_rng_state(), state), "reading it drew random numbers"
        assert (loaded.width, loaded.spec, loaded.kind) == (encoder.width, encoder.spec, encoder.kind)
        expected = encoder.eval()(**inputs)
        torch.testing.assert_close(loaded.eval()(**inputs), expected, rtol=0.0, atol=self.saved_within)

    def test_the_seed_decides_the_weights(self) -> None:
        first, second = self.make().state_dict(), self.make().state_dict()
        assert first.keys() == second.keys()
        for name, values in first.items():
            assert torch.equal(values, second[name]), name

    def test_evaluation_is_deterministic_and_changes_nothing(self) -> None:
        encoder, inputs = self.make().eval(), example_inputs(self.spec)
        before = {name: values.clone() for name, values in encoder.state_dict().items()}
        assert torch.equal(encoder(**inputs), encoder(**inputs))
        for name, values in encoder.state_dict().items():
            assert torch.equal(values, before[name]), f"evaluation changed {name}"

    def test_a_frozen_part_runs_apart(self) -> None:
        """What it gives is computed once and used in every trial: with it, all comes out as from the inputs."""
        encoder, inputs = self.make(), example_inputs(self.spec)
        if not encoder.can_split:
            return
        key = encoder.frozen_key()
        assert key == self.make().frozen_key()
        lower = encoder.lower(**inputs)
        mask = {name: inputs[name] for name in ("attention_mask",) if name in inputs and "hidden" in lower}
        assert not any(values.requires_grad for values in lower.values())
        assert torch.equal(encoder.eval()(**lower, **mask), encoder(**inputs))
        empty = encoder.lower(**{name: values[:0] for name, values in inputs.items()})
        assert {name: values.shape for name, values in empty.items()} == {
            name: (0, *values.shape[1:]) for name, values in lower.items()
        }
        if encoder.frozen:
            return
        optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
        encoder.train()(**inputs).square().sum().backward()
        optimizer.step()
        assert encoder.frozen_key() == key, "a step changed the frozen part"
        again = encoder.lower(**inputs)
        for name, values in lower.items():
            assert torch.equal(again[name], values), "a step changed what the frozen part gives"

    def test_frozen_is_frozen(self) -> None:
        """Where the kind can be frozen: no gradient, and no dropout or running statistics in training either."""
        settings_class = _models().find_kind(self.kind).settings_class
        if "freeze" not in settings_class.model_fields:
            return
        encoder, inputs = self.make(freeze=True).eval(), example_inputs(self.spec)
        expected = encoder(**inputs)
        for seen in (self.make(freeze=True)(**inputs), encoder.train()(**inputs)):
            assert torch.equal(seen, expected)
            assert not seen.requires_grad
        assert not any(parameter.requires_grad for parameter in encoder.parameters())


def _models() -> Any:
    """The models, imported when a test runs: who comes for the loss alone has neither pydantic nor transformers."""
    return import_module("sdl_study.models")
