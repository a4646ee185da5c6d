"""What every study has to keep, as tests that a search space of one's own inherits.

    class TestMine(SpaceContract):
        study = "folder/my_space.py"  # or "package.module", a name of search_spaces, or a Study itself

pytest collects the methods. Nothing is trained and no data are needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdl_study.space import ParameterValue, Study
    from sdl_study.study.plan import Plan

_POINTS = 60


class SpaceContract:
    """Tests of one study: subclass, and say which.

    Attributes:
        study: a ``Study``, or what ``python -m sdl_study.run study`` takes.
        base: what ``--base`` takes, for a study that is made over another one.
        points: random points that are drawn for every arm.
    """

    study: str | Study
    base: str | None = None
    points: int = _POINTS

    @contextmanager
    def plan(self) -> Iterator[Plan]:
        """The study, checked as the command checks it: every extreme is a valid setting of every arm that searches it,
        every condition names what stands before it, every loss can be built."""
        from sdl_study.own_modules import load_study
        from sdl_study.study.bases import find_base
        from sdl_study.study.plan import make_plan

        with tempfile.TemporaryDirectory() as out:
            if isinstance(self.study, str):
                base = None if self.base is None else find_base(self.base, Path(out))
                own = load_study(self.study, base)
                yield make_plan(own.study, Path(out), own.name, {}, module=own.module)
            else:
                yield make_plan(self.study, Path(out), "study", {})

    def drawn(self, plan: Plan, arm: str) -> list[dict[str, ParameterValue]]:
        """Random points of an arm, the same at every call."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        fixed = plan.fixed(arm)
        return [plan.space.suggest(asked.ask(), arm, fixed) for _ in range(self.points)]

    def test_every_extreme_is_a_valid_setting_and_every_condition_names_what_can_occur(self) -> None:
        with self.plan() as plan:
            assert plan.arm_names

    def test_every_condition_holds_somewhere(self) -> None:
        with self.plan() as plan:
            for arm in plan.arm_names:
                seen = {name for point in self.drawn(plan, arm) for name in point}
                never = [p.name for p in plan.space.of_arm(arm) if p.name not in seen]
                assert not never, f"arm {arm}: in {self.points} random points {never[0]} was never asked"

    def test_every_point_is_a_setting_that_can_be_trained(self) -> None:
        with self.plan() as plan:
            for arm in plan.arm_names:
                for point in [*self.drawn(plan, arm), plan.space.published_point(arm, plan.fixed(arm))]:
                    _check(plan, arm, point)

    def test_every_arm_searches_the_same_but_for_its_loss(self) -> None:
        """Arms that search more of what all have, the learning rate for example, are tuned harder than the others."""
        with self.plan() as plan:
            shared = {
                arm: [p.name for p in plan.space.of_arm(arm) if not p.name.startswith("loss.")]
                for arm in plan.arm_names
            }
            first = next(iter(shared))
            for arm, names in shared.items():
                assert names == shared[first], f"arms {first} and {arm} do not search the same"

    def test_the_published_point_names_every_parameter_that_is_always_asked(self) -> None:
        with self.plan() as plan:
            for arm in plan.arm_names:
                point = plan.space.published_point(arm, plan.fixed(arm))
                missing = [p.name for p in plan.space.of_arm(arm) if not p.when and p.name not in point]
                assert not missing, f"arm {arm}: the published point has no {missing[0]}"


def _check(plan: Plan, arm: str, point: Mapping[str, Any]) -> None:
    from sdl_study.study.checks import check_encoders

    settings = plan.with_parameters(point)
    check_encoders(settings, plan.name, plan.module)
    plan.losses[arm].check(settings.loss, f"{plan.name}: arm {arm}")
