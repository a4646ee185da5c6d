"""How long the trials of a study took, and what that says of those to come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sdl_study.record.trials import TrialRecord


class Pace:
    """Trials as they are told, and how much of the search is left by them.

    A trial to come is taken to be as long as the mean of those that have ended, stopped ones among them, since some of
    those to come will be stopped too.

    Args:
        trials: those that are there already.
    """

    def __init__(self, trials: Iterable[TrialRecord] = ()) -> None:
        self.ended = 0
        self._told, self._seconds = 0, 0.0
        self._running: dict[int, float] = {}
        for trial in trials:
            self.tell(trial)

    def tell(self, trial: TrialRecord) -> None:
        """A trial as it is now: whenever it changes while it runs, and once when it has ended."""
        if trial.state == "running":
            self._running[trial.number] = trial.seconds
            return
        self._running.pop(trial.number, None)
        if trial.failure == "machine":
            return  # another one is asked in its place
        self.ended += 1
        if trial.epochs:
            self._told, self._seconds = self._told + 1, self._seconds + trial.seconds

    def seconds_left(self, wanted: int) -> float | None:
        """Seconds of training and probing that the search still needs, as if its trials ran one after another.

        Args:
            wanted: how many trials it will have; those that the machine ended do not count.

        Returns:
            None while no trial has ended with an epoch.
        """
        if not self._told:
            return None
        mean = self._seconds / self._told
        not_asked = max(0, wanted - self.ended - len(self._running))
        return mean * not_asked + sum(max(0.0, mean - seconds) for seconds in self._running.values())


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
