"""How an arm's next trial is sampled: published, start-up or fitted TPE, seeded before every ask."""

from __future__ import annotations

import math
import warnings

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from sdl_study.seeds import derive_seed, of_search

PUBLISHED, WARM, STARTUP, TPE = "published", "warm start", "startup", "tpe"


def startup_trials(trials: int) -> int:
    """How many trials of a search (the published one included) come before the fitted model.

    At most ten, and never more than leaves a third of the search's trials to the model.
    """
    return max(1, min(10, trials - math.ceil(trials / 3)))


def sampler_for(
    study: optuna.Study, study_seed: int, arm: str, number: int, trials: int, search: int = 0, warm: int = 0
) -> tuple[BaseSampler, str]:
    """The sampler of one trial of an arm and the name that says which it is.

    The seed depends on study seed, arm, search and number alone, so that a resumed study asks what the unbroken
    one would have asked.

    Args:
        study: Optuna's, of this search of the arm.
        study_seed, arm: whose trial it is.
        number: in the search; 0 is the published setting.
        trials: how many the search has.
        search: which of the arm's independent searches.
        warm: how many trials after the published one come from an earlier study; what they do not name is drawn.
    """
    seed = derive_seed(study_seed, "sampler", arm, number, *of_search(search))
    fitted_on = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    if number == 0:
        return RandomSampler(seed=seed), PUBLISHED
    if number <= warm:
        return RandomSampler(seed=seed), WARM
    if number < startup_trials(trials) or not fitted_on:
        return RandomSampler(seed=seed), STARTUP
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True
        ), TPE
