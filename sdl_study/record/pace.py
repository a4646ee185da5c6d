"""How long the trials of a study took, and what that says of those to come."""

from __future__ import annotations

from collections.abc import Sequence

from sdl_study.record.trials import TrialRecord


def seconds_of_trials_left(trials: Sequence[TrialRecord], wanted: int) -> float | None:
    """Seconds of training and probing that a search still needs, as if its trials ran one after another.

    A trial to come is taken to be as long as the mean of those that have ended, stopped ones among them, since some of
    those to come will be stopped too.

    Args:
        trials: all that were asked so far.
        wanted: how many the search will have; those that the machine ended do not count.

    Returns:
        None while no trial of the study has ended with an epoch.
    """
    ended = [trial for trial in trials if trial.state != "running" and trial.failure != "machine"]
    told = [trial.seconds for trial in ended if trial.epochs]
    if not told:
        return None
    mean = sum(told) / len(told)
    running = [trial for trial in trials if trial.state == "running"]
    not_asked = max(0, wanted - len(ended) - len(running))
    return mean * not_asked + sum(max(0.0, mean - trial.seconds) for trial in running)


def seconds_of_finals(trials: Sequence[TrialRecord], epochs: int, finals: int) -> float | None:
    """Seconds that so many finals need one after another: each trains all epochs, which a stopped trial does not.

    Args:
        trials: of the study; their epochs say how long one is.
        epochs: of a final.
        finals: how many have yet to run.

    Returns:
        None while there is no epoch.
    """
    told = [(trial.seconds, len(trial.epochs)) for trial in trials if trial.epochs]
    if not told:
        return None
    return finals * epochs * sum(seconds for seconds, _ in told) / sum(count for _, count in told)
