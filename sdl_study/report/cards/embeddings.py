"""A map of test embeddings around one anchor, coloured by how the label sets stand to its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdl_study.evaluation.embeddings import read_embeddings
from sdl_study.evaluation.predictions import read_predictions
from sdl_study.record.relations import RELATIONS, relations_of
from sdl_study.report.page.card import Card, absent
from sdl_study.report.page.drawing import COLOURS, INK, MUTED, canvas
from sdl_study.report.page.frames import ScoredFinal, StudyFrames

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl
    from jaxtyping import Float, Int

KEY, TITLE = "embeddings", "Map of the test embeddings"
_MARKS = dict(
    zip(
        RELATIONS,
        (
            (MUTED, "circle-open"),
            (COLOURS[0][0], "circle"),
            (COLOURS[1][0], "diamond"),
            (COLOURS[2][0], "square"),
            (COLOURS[3][0], "triangle-up"),
        ),
        strict=True,
    )
)
_LEAST_ROWS = 10
_PERPLEXITY = 30.0


def card(study: StudyFrames) -> Card:
    """Points of the method's first final; restricted data never show single records."""
    if study.restricted:
        return absent(
            KEY, TITLE, "Does not apply: the data are restricted, and a map would show single records."
        )
    if (why := study.why_no_test()) is not None:
        return absent(KEY, TITLE, why)
    for arm in (*study.compared, *study.arms):
        for final in study.of_arm(arm):
            found = read_embeddings(final.slot.folder)
            if found is not None and len(found[0]) >= _LEAST_ROWS:
                return _drawn(final, *found)
    return absent(
        KEY, TITLE, "Does not apply: no final has left embeddings; finals that are scored by a probe leave some."
    )  # fmt: skip


def _drawn(final: ScoredFinal, rows: Int[np.ndarray, " n"], embeddings: Float[np.ndarray, "n width"]) -> Card:
    relations = _relations(final, rows)
    unit = centred(embeddings)
    cosine = unit @ unit.T
    anchor = anchor_of(relations)
    table = frame(rows, relations[anchor], cosine[anchor], flat(unit), anchor)
    others = ~np.eye(len(rows), dtype=bool)
    means = {
        name: float(cosine[others & (relations == place)].mean())
        for place, name in enumerate(RELATIONS)
        if (others & (relations == place)).any()
    }
    words = ", ".join(f"{name} {value:.2f}" for name, value in means.items())
    note = (
        f"n = {len(rows):,} test inputs of {final.slot.name}, seed {final.slot.seed_number}; the encoder's embeddings "
        "less their mean; the map is t-SNE of cosine distances, which keeps neighbours and not distances; no test."
    )
    return Card(
        KEY, TITLE, f"Mean cosine similarity of two test inputs by the relation of their label sets: {words}.",
        table, (draw(table),), note, formats={"cosine": ".3f", "x": ".2f", "y": ".2f"},
    )  # fmt: skip


def _relations(final: ScoredFinal, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n n"]:
    """Of the rows' label sets, as the predictions have them."""
    from scipy.sparse import csr_array

    found = read_predictions(final.slot.predictions)
    targets = found.targets
    ones = np.ones(targets.rows.size, dtype=np.int64)
    sets = csr_array((ones, (targets.rows, targets.columns)), shape=targets.shape)
    return relations_of(sets[np.searchsorted(found.ids, rows)])


def centred(embeddings: Float[np.ndarray, "n width"]) -> Float[np.ndarray, "n width"]:
    """Directions from the embeddings' mean: what all inputs share would bring every cosine close to 1."""
    apart = embeddings - embeddings.mean(axis=0)
    return apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-12)


def anchor_of(relations: Int[np.ndarray, "n n"]) -> int:
    """The input that has most inputs in the rarest of the five relations to it, then in the next rarest, and so on."""
    counts = np.stack(
        [np.count_nonzero(relations == place, axis=1) for place in range(len(RELATIONS))], axis=1
    )
    ordered = np.sort(counts, axis=1)
    return int(np.lexsort(ordered.T[::-1])[-1])


def flat(unit: Float[np.ndarray, "n width"]) -> Float[np.ndarray, "n 2"]:
    """Places on the plane, the same at every call.

    On one thread: a study that runs keeps the others busy, and a thousand times t-SNE's threads would wait for the
    last of them (33 s instead of 3 for 300 inputs on two busy cores).
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(_PERPLEXITY, (len(unit) - 1) / 3)
    made = TSNE(metric="cosine", init="random", perplexity=perplexity, random_state=0, n_jobs=1)
    with threadpool_limits(1):
        return made.fit_transform(unit.astype(np.float64))


def frame(
    rows: Int[np.ndarray, " n"],
    relations: Int[np.ndarray, " n"],
    cosine: Float[np.ndarray, " n"],
    places: Float[np.ndarray, "n 2"],
    anchor: int,
) -> pl.DataFrame:
    """One row per test input, the most similar first: row, relation to the anchor, cosine, place; the anchor on top."""
    import polars as pl

    names = [RELATIONS[place] for place in relations]
    names[anchor] = "anchor"
    table = pl.DataFrame(
        {
            "row": rows,
            "relation": names,
            "cosine": cosine.astype(float),
            "x": places[:, 0].astype(float),
            "y": places[:, 1].astype(float),
        }
    )
    return table.sort(pl.col("relation") != "anchor", -pl.col("cosine"))


def draw(table: pl.DataFrame) -> go.Figure:
    """A point for every test input; the anchor is a star."""
    import plotly.graph_objects as go
    import polars as pl

    figure = canvas(460, "", "")
    for relation, (colour, symbol) in (*_MARKS.items(), ("anchor", (INK, "star"))):
        own = table.filter(pl.col("relation") == relation)
        if own.is_empty():
            continue
        figure.add_trace(go.Scatter(
            x=own["x"].to_list(), y=own["y"].to_list(), mode="markers", name=f"{relation} ({own.height})",
            marker={"color": colour, "symbol": symbol, "size": 18 if relation == "anchor" else 7},
            customdata=own.select("row", "cosine").rows(),
            hovertemplate=relation + ", row %{customdata[0]}, cosine %{customdata[1]:.3f}<extra></extra>",
        ))  # fmt: skip
    return figure.update_xaxes(showticklabels=False, ticks="").update_yaxes(showticklabels=False, ticks="")


__all__ = ["anchor_of", "card", "draw", "flat", "frame"]
