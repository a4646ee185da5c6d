"""answer.json: what a study came to, as numbers and names. How it is worded belongs to report/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdl_study.arms import Arm
from sdl_study.config import Settings
from sdl_study.errors import UserError
from sdl_study.evaluation.verdict import Comparison, Interval
from sdl_study.files import read_json
from sdl_study.record.contrasts import again, contrasts, measure_of, twins
from sdl_study.record.declaration import Declaration
from sdl_study.record.finals import Final, Role
from sdl_study.record.findings import Convergence, Edge
from sdl_study.record.rows import Row, RowMaker
from sdl_study.record.trials import TrialRecord
from sdl_study.space import SearchSpace
from sdl_study.stages import PROBE, Stage


@dataclass(frozen=True)
class FailedFinal:
    """A final or control that failed by its own setting."""

    name: str
    role: Role
    seed_number: int
    where: str
    stage: Stage = PROBE


@dataclass(frozen=True)
class OtherTable:
    """The table after another last stage than the one that the verdict is about."""

    stage: Stage
    table: tuple[Row, ...]


@dataclass(frozen=True)
class Answer:
    """What a study came to.

    Attributes:
        study: its name.
        declaration: SHA-256 of the declaration under which the finals ran.
        objective, metric, stage: what was searched for on dev, what is compared on test, after which last stage.
        trials: how many there were.
        searches: independent searches of every arm.
        best_arm: best on dev; whose test metrics are the study's.
        exploratory: other declarations under which test data of this study had been scored before.
        table: one row per arm and control, after the stage.
        failed: finals that failed by their own setting.
        primary: the declared contrast; None without one, or without a verdict.
        secondary: the method's other variants against the same arm, then the method against the others, after
            Holm's correction.
        no_verdict: why there is none on the declared contrast, or on a secondary one.
        objective_labels: how many labels count in an objective that is taken over some of them; None where it is the
            metric itself.
        twins: contrasts of arms that are one under two names.
        seen: what is to be known of encoders that were pretrained on the source of the data, a sentence each.
        others: the tables after the other last stages.
        aa: the method's setting against itself on other seeds, where that was declared: no difference, or the verdict
            is not to be believed.
        published: numbers of others to stand below it, one line each.
    """

    study: str
    declaration: str
    objective: str
    metric: str
    stage: Stage
    trials: int
    best_arm: str
    exploratory: tuple[str, ...]
    table: tuple[Row, ...]
    failed: tuple[FailedFinal, ...]
    primary: Comparison | None
    secondary: tuple[Comparison, ...]
    no_verdict: str | None
    objective_labels: int | None = None
    searches: int = 1
    twins: tuple[Comparison, ...] = ()
    seen: tuple[str, ...] = ()
    others: tuple[OtherTable, ...] = ()
    aa: Comparison | None = None
    published: tuple[str, ...] = ()

    @property
    def best(self) -> Row:
        """The row of the best arm on dev."""
        return next(row for row in self.table if row.name == self.best_arm)

    @property
    def rising(self) -> tuple[str, ...]:
        """The arms that were still rising where their training ended."""
        return tuple(row.name for row in self.table if row.convergence is not None and row.convergence.rising)

    @property
    def unable(self) -> tuple[str, ...]:
        """The arms that could not learn."""
        return tuple(row.name for row in self.table if not row.could_learn)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it stands in answer.json."""
        return asdict(self)


def read_answer(path: Path) -> Answer:
    """The answer in a file.

    Raises:
        UserError: the file is damaged, or another version's.
    """
    values = read_json(path)
    try:
        primary, aa = values["primary"], values.get("aa")
        return Answer(
            **{
                **values,
                "exploratory": tuple(values["exploratory"]),
                "seen": tuple(values.get("seen", ())),
                "published": tuple(values.get("published", ())),
                "table": tuple(_row(row) for row in values["table"]),
                "failed": tuple(FailedFinal(**failed) for failed in values["failed"]),
                "primary": None if primary is None else _comparison(primary),
                "aa": None if aa is None else _comparison(aa),
                "secondary": tuple(_comparison(contrast) for contrast in values["secondary"]),
                "twins": tuple(_comparison(contrast) for contrast in values.get("twins", ())),
                "others": tuple(
                    OtherTable(other["stage"], tuple(_row(row) for row in other["table"]))
                    for other in values.get("others", ())
                ),
            }
        )
    except (KeyError, TypeError):
        raise UserError(
            f"{path}: no answer of this version; the study's own command writes it again"
        ) from None


def _row(values: Mapping[str, Any]) -> Row:
    """A row; an answer from before there were findings has none."""
    found = values.get("convergence")
    return Row(
        **{
            **values,
            "convergence": None if found is None else Convergence(**found),
            "edges": tuple(Edge(**edge) for edge in values.get("edges", ())),
        }
    )


def _comparison(values: Mapping[str, Any]) -> Comparison:
    interval = values["interval"]
    return Comparison(
        **{
            **values,
            "seeds": tuple(values["seeds"]),
            "values": tuple((first, second) for first, second in values["values"]),
            "interval": None if interval is None else Interval(**interval),
        }
    )


def make_answer(
    settings: Settings,
    space: SearchSpace,
    arms: Iterable[Arm],
    declaration: Declaration,
    trials: Sequence[TrialRecord],
    finals: Sequence[Final],
    exploratory: Sequence[str] = (),
    objective_labels: int | None = None,
    seen: Sequence[str] = (),
    published: Sequence[str] = (),
    folds: bool = False,
) -> Answer:
    """Compare what the finals left; reads predictions.parquet of each, one at a time.

    Args:
        settings, space, arms: the study's.
        declaration: under which the finals ran.
        trials: all of them.
        finals: all that the declaration promised.
        exploratory: other declarations under which this study's test labels had been opened before.
        objective_labels, seen, published: as in ``Answer``.
        folds: whether winners were chosen on folds of train and dev.
    """
    metric = declaration.primary_metric.removeprefix("test/")
    by_name = {arm.name: arm for arm in arms}
    measure = measure_of(declaration, metric)
    compared, no_verdict = contrasts(declaration, finals, metric, measure)
    same, undefined = twins(declaration, finals, metric, measure, by_name.values(), space)
    with_itself, why_not = again(declaration, finals, metric, measure)
    tables: dict[Stage, tuple[Row, ...]] = {
        stage: RowMaker(settings, space, by_name, declaration, trials, finals, stage, folds).rows()
        for stage in declaration.stages
    }
    return Answer(
        study=declaration.study,
        declaration=declaration.sha,
        objective=settings.objective,
        metric=metric,
        stage=declaration.primary_stage,
        trials=len(trials),
        best_arm=declaration.best_arm_on_dev,
        exploratory=tuple(exploratory),
        table=tables.pop(declaration.primary_stage),
        failed=tuple(
            FailedFinal(final.name, final.role, final.slot.seed_number, final.failure, final.slot.stage)
            for final in finals
            if final.failure is not None
        ),
        primary=compared[0] if compared else None,
        secondary=tuple(compared[1:]),
        no_verdict="; ".join(filter(None, (no_verdict, undefined, why_not))) or None,
        objective_labels=objective_labels,
        searches=declaration.searches,
        twins=tuple(same),
        seen=tuple(seen),
        others=tuple(OtherTable(stage, table) for stage, table in tables.items()),
        aa=with_itself,
        published=tuple(published),
    )
