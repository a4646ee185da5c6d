"""A study and its storage while a command runs: taken, fetched where it is not here, brought up to date, left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sdl_study.data.prepared import PreparedData
from sdl_study.ending import MachineFailure, must_leave_at_once
from sdl_study.errors import UserError
from sdl_study.evaluation.ledger import append_missing, read_ledger
from sdl_study.files import read_json, write_text
from sdl_study.record.files import StudyFiles
from sdl_study.record.trials import TrialRecord
from sdl_study.storage.data import bring_data, can_be_kept, fetch_data
from sdl_study.storage.fetching import fetch_folder
from sdl_study.storage.index import Index, read_index
from sdl_study.storage.lease import Lease
from sdl_study.storage.mirror import Mirror
from sdl_study.storage.place import Place, StorageError

_PAUSE_SECONDS = 5.0
# For so many times as long as it took to bring the files nothing is brought: they take a fifth of the time at most.
_SHARE = 4.0
_LONGEST_PAUSE = 60.0
_LAST_ATTEMPTS = 5
_INTERRUPTED_SECONDS = 3.0


class StudyStorage:
    """A study on the storage, held by this driver from ``open`` to ``close``.

    Args:
        files: of the study.
        url: of the storage, ``s3://bucket/prefix``.
        say: prints a line.
        on_lost: called from a thread when another driver has taken the study.
    """

    def __init__(
        self, files: StudyFiles, url: str, say: Callable[[str], None], on_lost: Callable[[], None]
    ) -> None:
        self._files, self._storage, self._say = files, Place(url), say
        self.place = self._storage.below(files.name)
        self.lease = Lease(self.place, on_lost)
        self._data: PreparedData | None = None
        self._mirror: Mirror | None = None
        self._thread: threading.Thread | None = None
        self._end, self._attempts = threading.Event(), 1
        self._deadline = float("inf")
        self._lock = threading.Lock()
        self._fetched = self._data_there = False
        self._failing, self.errors = set[str](), 0

    def open(self) -> None:
        """Take the study, and bring it here where it is not.

        Raises:
            UserError: another driver has it, it cannot be used, or it went on elsewhere while this folder did.
        """
        try:
            self.lease.take()
            try:
                index = read_index(self.place)
                if index is not None:
                    self._agree(index)
                self._mirror = Mirror(self._files, self.place, index, self._about, self.lease.check)
            except BaseException:
                self._leave()
                raise
        except StorageError as error:
            raise UserError(
                f"--storage {self._storage.url}: cannot be used ({error}); credentials, region and endpoint come from "
                "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL)"
            ) from None

    def _agree(self, index: Index) -> None:
        """The folder here is the state there, or goes on from it; where there is none it becomes it."""
        files = self._files
        if not files.study_json.exists():
            fetch_folder(self.place, files, self._say)
            self._fetched = True
            return
        marker: dict[str, Any] = read_json(files.storage) if files.storage.exists() else {}
        if marker.get("url") != self.place.url or index.state not in marker["states"]:
            raise UserError(
                f"{self.place.url}: the study there went on without {files.folder}; move one of the two away: without "
                "the folder the same command fetches the study"
            )

    def _about(self) -> Mapping[str, Any]:
        return {"private": self._files.folder.stat().st_mode & 0o077 == 0}

    def data_folder(self, pipeline: str | None, path: str | None) -> Path | None:
        """The study's prepared data as they are fetched, on a machine that has none: whose pipeline would make them
        again, or which has not the folder that is named.

        Raises:
            UserError: what lies on the storage is damaged.
            MachineFailure: the storage does not answer.
        """
        if not self._files.study_json.exists():
            return None
        fingerprint = read_json(self._files.study_json)["data_fingerprint"]
        folder = self._files.fetched_data(fingerprint)
        if pipeline is None:
            wanted = path is None or not Path(path).is_dir()
        else:
            wanted = self._fetched or folder.is_dir()
        try:
            return folder if wanted and fetch_data(self._storage, fingerprint, folder) else None
        except StorageError as error:
            raise MachineFailure(
                f"{self._storage.url}: the prepared data cannot be fetched ({error})"
            ) from None

    def start(self, data: PreparedData) -> None:
        """The study runs on these data: from now on its files are brought to the storage."""
        self._data = data
        kept = read_ledger(self._files.folder)
        if kept:
            append_missing(data.path, kept)
        if data.manifest.terms == "restricted":
            self._say(
                f"restricted data: texts, labels and scores go to {self.place.url} too, as your agreement must allow"
            )
        self._say(f"storage: {self.place.url}")
        self._thread = threading.Thread(target=self._keep, name="storage", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        """Bring the study again and again, and beside it, for it may take long, its data once; then leave."""
        of_data = threading.Thread(target=self._work, args=(self._bring_data, "data"), daemon=True)
        of_data.start()
        self._work(self._bring, "files")
        of_data.join()
        self._leave()

    def _work(self, bring: Callable[[], None], what: str) -> None:
        pause = _PAUSE_SECONDS
        while not self._end.wait(pause):
            began = time.monotonic()
            if not self._attempt(bring, what):
                pause = min(2 * pause, _LONGEST_PAUSE)
            elif what == "data":
                return
            else:
                pause = max(_PAUSE_SECONDS, _SHARE * (time.monotonic() - began))
        for number in range(self._attempts):
            time.sleep(number)
            if self._attempt(bring, what):
                break

    def _leave(self) -> None:
        with suppress(StorageError):  # it ends by itself
            self.lease.leave()

    def _bring(self) -> None:
        assert self._mirror is not None
        if self._files.study_json.exists():
            self._note_openings()
            self._mirror.bring(self._goes_on)

    def _bring_data(self) -> None:
        assert self._data is not None
        if can_be_kept(self._data.manifest):
            bring_data(self._storage, self._data.path, self._data.manifest, self._goes_on)
        self._data_there = True

    def _goes_on(self) -> None:
        if time.monotonic() > self._deadline:
            raise StorageError("no time is left")

    def _note_openings(self) -> None:
        """This study's lines of the ledger, which lies with the data, into its own folder."""
        assert self._data is not None
        with self._lock:
            own = [line for line in read_ledger(self._data.path) if line.identity.study == self._files.name]
            if own != read_ledger(self._files.folder):
                write_text(self._files.ledger, "".join(line.to_json() + "\n" for line in own))

    def _attempt(self, bring: Callable[[], None], what: str = "files") -> bool:
        """Whether the storage took it; the first error after it took everything is told."""
        try:
            bring()
        except (StorageError, UserError, OSError) as error:  # the last two are about a file here
            reason = str(error) if isinstance(error, StorageError) else type(error).__name__
            with self._lock:
                self.errors += 1
                if not self._failing:
                    self._say(
                        f"{self.place.url} does not take {what} ({reason}); the study goes on, and tries again"
                    )
                self._failing.add(what)
            return False
        with self._lock:
            if self._failing == {what}:
                self._say(f"{self.place.url} takes {what} again, after {self.errors} errors")
            self._failing.discard(what)
        return True

    def _bring_record(self) -> None:
        assert self._mirror is not None
        self._note_openings()
        self._mirror.bring_record(self._goes_on)

    def started(self, record: TrialRecord) -> None:
        """A trial starts: the storage knows of it before anybody else does, who may outlive this machine."""
        if not self._failing:
            self._attempt(self._bring_record)

    def epoch(self, record: TrialRecord, epoch: int) -> None:
        """A trial finished an epoch: it is brought with the rest."""

    def ended(self, record: TrialRecord) -> None:
        """A trial ended: it is brought with the rest."""

    def opening(self) -> None:
        """Test labels are about to be opened: the ledger on the storage says so before.

        Raises:
            MachineFailure: the storage does not take it.
        """
        try:
            self._bring_record()
        except StorageError as error:
            raise MachineFailure(
                f"{self.place.url} does not take the ledger ({error}), so the test labels stay closed; the same "
                "command goes on"
            ) from None

    def close(self, in_order: bool) -> None:
        """Bring what is left and leave the study.

        Args:
            in_order: the study came to its end; otherwise there are seconds left.

        Raises:
            MachineFailure: it came to its end, and the storage does not have all of it.
        """
        self.lease.stop()
        left = self._left_behind(in_order)
        if left is None:
            return
        words = f"{left}; all is in {self._files.folder}, and the same command brings it"
        if in_order:
            raise MachineFailure(words)
        self._say(words)

    def _left_behind(self, in_order: bool) -> str | None:
        """What the storage does not have, in words, after the last attempts to bring it."""
        if self._thread is None or self._mirror is None:
            self._leave()
            return None
        if in_order:
            self._attempts = _LAST_ATTEMPTS
        else:
            self._deadline = time.monotonic() + _INTERRUPTED_SECONDS
        self._end.set()
        try:
            self._thread.join(_INTERRUPTED_SECONDS)
            if in_order and self._thread.is_alive():
                self._say(f"bringing what is left to {self.place.url}")
                self._thread.join()
        except KeyboardInterrupt:
            must_leave_at_once()
            raise
        if self._thread.is_alive():
            must_leave_at_once()
            return f"{self.place.url} lacks what was last written"
        missing = self._mirror.missing()
        if missing:
            more = "" if len(missing) == 1 else f" and {len(missing) - 1} other files"
            return f"{self.place.url} lacks {missing[0]}{more}, after {self.errors} errors"
        if not self._data_there:
            return f"{self._storage.url} lacks the prepared data, after {self.errors} errors"
        return None
