"""What of the loss matters: ``study ablation --base STUDY [--data DIR]``, with that study's space, data and budget.

Every arm has as many trials as the others and searches the same, but for what it fixes; the method is sd as published,
and the verdict is about sd against the best on dev of the arms that lack a part of it, or have another loss. Choose
arms, since all of them take long: ``--set "arms=('similarity_only', 'dissimilarity_only', 'sd', 'neither', 'aa')"``.

- ``sd`` has both factors, ``similarity_only``, ``dissimilarity_only`` and ``neither`` (which is ``any``, computed by
  the code of sd) have fewer; ``no_RELATION`` gives one relation no weight;
- ``by_weights`` divides by the sum of an anchor's weights in place of the number of its positives;
- ``exponential``, ``linear``, ``relative`` and ``symmetric`` penalise other labels otherwise; ``random_weights`` splits
  sd's total among the positives at random;
- ``any``, ``all``, ``mulsupcon``, ``jaccard`` and ``multisupcon`` are other contrastive losses, ``bce``, ``asl`` and
  ``focal`` train with labels alone;
- ``tau_0.03`` to ``tau_1`` are sd at a fixed temperature, all else searched: other settings of the method, which the
  page's card of temperatures shows by their finals;
- ``sd_again`` is sd searched a second time: what the luck of a search makes. ``aa`` is no search: the setting chosen
  for sd, trained once more on other seeds, which must come out as no difference.
"""

from __future__ import annotations

from sdl_study.arms import (
    ALL,
    ANY,
    ASL,
    BCE,
    JACCARD,
    MULSUPCON,
    MULTISUPCON,
    RANDOM_WEIGHTS,
    SD,
    Arm,
)
from sdl_study.space import Study
from sdl_study.study.bases import over

TEMPERATURES = (0.03, 0.05, 0.07, 0.1, 0.2, 0.5, 1.0)

FACTORS = (
    SD,
    Arm("similarity_only", "sd", fixed={"dissimilarity_power": 0.0}),
    Arm("dissimilarity_only", "sd", fixed={"similarity_power": 0.0}),
    Arm("neither", "sd", fixed={"similarity_power": 0.0, "dissimilarity_power": 0.0}),
)
RELATIONS = tuple(
    Arm(f"no_{relation}", "sd", fixed={"relation_weights": {relation: 0.0}})
    for relation in ("equal", "overlap", "subset", "superset")
)
NORMALIZERS = (Arm("by_weights", "sd", fixed={"normalizer": "weights"}),)
PENALTIES = tuple(Arm(name, name) for name in ("exponential", "linear", "relative", "symmetric"))
RIVALS = (ANY, ALL, MULSUPCON, JACCARD, MULTISUPCON, RANDOM_WEIGHTS)
SUPERVISED = (
    BCE,
    ASL,
    Arm(
        "focal",
        "asl",
        fixed={"gamma_negative": 2.0, "gamma_positive": 2.0, "clip": 0.0},
        pretraining="supervised",
    ),
)
SWEEP = tuple(Arm(f"tau_{tau:g}", "sd", fixed={"temperature": tau}) for tau in TEMPERATURES)
ARMS = (
    *FACTORS, *RELATIONS, *NORMALIZERS, *PENALTIES, *RIVALS, *SUPERVISED, *SWEEP, Arm("sd_again", "sd"),
)  # fmt: skip


def of_base(base: Study) -> Study:
    """The ablation over a study."""
    return over(
        base,
        ARMS,
        method=SD.name,
        about=f"What of the loss matters. {base.about}".strip(),
        ablates=True,
        aa=True,
    )
