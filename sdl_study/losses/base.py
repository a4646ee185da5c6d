"""The module every contrastive loss derives from, and the loss of any weight rule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from sdl_study import distributed
from sdl_study.label_sets import LabelSets
from sdl_study.losses.checks import choice, number_from_zero, positive_number, truth
from sdl_study.losses.core import Core, Positives, Result
from sdl_study.losses.diagnostics import Diagnostics, relation_sums, summarize
from sdl_study.losses.exchange import Batch, as_label_sets, gather_batch
from sdl_study.losses.gradient import with_gradient
from sdl_study.losses.positives import RulePositives
from sdl_study.losses.rule_checks import check_rule
from sdl_study.losses.rules import AnyRule, WeightRule
from sdl_study.losses.tiles import TilePlan, tile_edge

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


class ContrastiveLoss(nn.Module, ABC):
    """A multi-label supervised contrastive loss over the global batch.

    Args:
        temperature: τ of the logits z_i·z_j/τ.
        process_group: the ranks that share the batch; None is the default group.
        distributed: "auto" shares the batch whenever torch.distributed is initialised; False never does.
        gradient_reduction: "mean" where gradients are averaged over ranks afterwards (DDP, FSDP), "sum" where
            they are summed or used as they are.
        cache_mib: memory (MiB) a forward pass may use to keep exponentials and label counts of its tiles, which
            it otherwise computes twice; 0 needs least memory. The value does not change.
        learnable_temperature: make log τ a parameter that starts at log(temperature). Under DDP or FSDP the
            loss must then be part of the wrapped module.

    Attributes:
        valid_anchor_fraction: after a forward pass, anchors with a positive among all rows of the batch.

    Raises:
        ValueError: a temperature that is not a finite number above 0, or an unknown choice; the message names it.
    """

    valid_anchor_fraction: Tensor
    log_temperature: nn.Parameter | None

    def __init__(
        self,
        temperature: float = 0.07,
        *,
        process_group: distributed.ProcessGroup | None = None,
        distributed: Literal["auto", False] = "auto",
        gradient_reduction: Literal["mean", "sum"] = "mean",
        cache_mib: float = 256,
        learnable_temperature: bool = False,
    ) -> None:
        super().__init__()
        if not (distributed == "auto" or distributed is False):
            raise ValueError(f'distributed is {distributed!r}; choose "auto" or False')
        self._temperature = positive_number("temperature", temperature)
        learnable = truth("learnable_temperature", learnable_temperature)
        start = torch.tensor([math.log(self._temperature)])  # FSDP2 shards no 0-dim parameter
        self.register_parameter("log_temperature", nn.Parameter(start) if learnable else None)
        self.process_group = process_group
        self.distributed = distributed
        self.gradient_reduction = choice("gradient_reduction", gradient_reduction, ("mean", "sum"))
        self.cache_mib = math.inf if cache_mib == math.inf else number_from_zero("cache_mib", cache_mib)
        self.valid_anchor_fraction = torch.zeros((), dtype=torch.float64)

    @property
    def temperature(self) -> float:
        """τ as it is now."""
        if self.log_temperature is None:
            return self._temperature
        return math.exp(self.log_temperature.item())

    @abstractmethod
    def positives(self, batch: Batch, plan: TilePlan) -> Positives:
        """The positive term over a global batch."""

    def gather(self, embeddings: Tensor, labels: Tensor | LabelSets) -> Batch:
        """Check this rank's rows and assemble the global batch (a collective where the batch is shared)."""
        error: Exception | None = None
        sets: LabelSets | None = None
        try:
            sets = as_label_sets(embeddings, labels)
        except (ValueError, TypeError) as problem:
            error = problem
        sharded = self.distributed == "auto" and distributed.is_initialized()
        return gather_batch(embeddings, sets, error, self.process_group, sharded)

    def evaluate(self, batch: Batch, with_gradient: bool) -> Result:
        """Loss, and gradient of the rank's own rows, of a gathered batch."""
        device = batch.rows.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            plan = self._plan(batch)
            core = self._core(batch, plan, self.positives(batch, plan))
            return core.run(self.process_group, with_gradient)

    def _plan(self, batch: Batch) -> TilePlan:
        return TilePlan(batch.start, batch.stop, len(batch.labels), tile_edge(batch.rows.device))

    def _core(self, batch: Batch, plan: TilePlan, positives: Positives) -> Core:
        cache_bytes = int(min(self.cache_mib, 2**40) * 2**20)
        return Core(batch, plan, positives, 1 / self.temperature, cache_bytes)

    def forward(
        self,
        embeddings: Float[Tensor, "N D"] | Float[Tensor, "N V D"],
        labels: Shaped[Tensor, "N L"] | LabelSets,
    ) -> Float[Tensor, ""]:
        """The loss of the global batch: the same value on every rank.

        Args:
            embeddings: this rank's embeddings as they are to be compared (normalise them before); N may be 0
                and may differ between ranks. [N, V, D] holds V views of each sample: every view is an anchor,
                and the sample's other views are candidates with an equal label set. Every rank of the group
                has to call the loss in every step.
            labels: the N label sets, multi-hot or CSR.

        Raises:
            ValueError: input that does not fit, on any rank; the message names argument, shape and row.
            NonFiniteEmbeddingsError: embeddings of any rank that are not finite; raised on all ranks.
        """
        batch = self.gather(embeddings, labels)
        return with_gradient(embeddings, self.log_temperature, partial(self._values, batch))

    def _values(self, batch: Batch, wanted: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Loss, dL/dz of the rank's rows as its gradient reduction needs it, and dL/d log τ.

        dL/d log τ = −Σ_ij s_ij ∂L/∂s_ij = −½ Σ_k z_k · dL/dz_k, as s_ij is bilinear in z.
        """
        result = self.evaluate(batch, with_gradient=wanted)
        self.valid_anchor_fraction = result.valid_fraction
        gradient, for_temperature = result.gradient, None
        if gradient is not None:
            if self.gradient_reduction == "mean" and batch.world_size > 1:
                gradient = gradient.mul_(batch.world_size)
            if self.log_temperature is not None:
                own = batch.rows[batch.start : batch.stop] + batch.center
                slope = (own * gradient).sum(dtype=torch.float64) / -2
                for_temperature = slope.to(self.log_temperature).reshape(self.log_temperature.shape)
        return result.loss.to(batch.rows.dtype), gradient, for_temperature

    @torch.no_grad()
    def diagnostics(
        self,
        embeddings: Float[Tensor, "N D"] | Float[Tensor, "N V D"],
        labels: Shaped[Tensor, "N L"] | LabelSets,
    ) -> Diagnostics:
        """Relations, weights and scale of a batch, the same on every rank (a collective like ``forward``).

        Costs several times a forward pass: for a look now and then, not for every step.
        """
        batch = self.gather(embeddings, labels)
        plan = self._plan(batch)
        reference = RulePositives(AnyRule(), batch, plan)
        any_result = self._core(batch, plan, reference).run(self.process_group, with_gradient=True)
        training = self.training
        self.eval()  # a look at a batch is not a step
        try:
            result = self.evaluate(batch, with_gradient=True)
            sums = relation_sums(plan, reference, self.positives(batch, plan))
        finally:
            self.train(training)
        return summarize(result, any_result, sums, self.process_group, batch.world_size > 1)


class WeightedContrastiveLoss(ContrastiveLoss):
    """The loss of any weight rule: L = Σ_ij ω_ij (LSE_i − s_ij), ω from the rule and its normaliser.

    Args:
        rule: the weights of positive pairs.
        temperature, **settings: as in ``ContrastiveLoss``.

    Raises:
        TypeError: no rule.
        ValueError: a rule that breaks its promises (``check_rule``), or as ``ContrastiveLoss``.
    """

    def __init__(self, rule: WeightRule, temperature: float = 0.07, **settings: Any) -> None:
        super().__init__(temperature, **settings)
        if not isinstance(rule, WeightRule):
            raise TypeError(f"rule must be a WeightRule, not {type(rule).__name__}")
        check_rule(rule)
        self.rule = rule

    def positives(self, batch: Batch, plan: TilePlan) -> Positives:
        return RulePositives(self.rule, batch, plan)

    def extra_repr(self) -> str:
        return f"{self.rule!r}, temperature={self.temperature}"
