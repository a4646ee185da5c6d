"""What one machine says of itself and of the shared folders, and what is wrong with that, in words."""

from __future__ import annotations

import hashlib
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

import sdl_study
from sdl_study.files import write_text
from sdl_study.version import code_digest

_SEEN_SECONDS = 5.0
"""For so long a network file system may not show what another machine has written (NFS: 3 s and more)."""
_SHOWN = 12
_LOOPBACK = ("127.", "::1")
_CUDA, _NONE = "CUDA", "none"
_LEAST_FREE = 1e9


@dataclass(frozen=True)
class Question:
    """What a machine is asked.

    Attributes:
        meeting: folder on the study's storage in which the driver wrote ``WORD_FILE``, and every machine writes a file.
        word: what stands in it.
        data: folder of a prepared data set; None where none is asked for.
    """

    meeting: str
    word: str
    data: str | None


WORD_FILE, MANIFEST = "driver", "manifest.json"


@dataclass(frozen=True)
class Answer:
    """What a machine says.

    Attributes:
        host, address: of the machine.
        versions: of package, Python and torch, and the CUDA that torch was built for, by name.
        code: digest of the package's files.
        free: bytes free where the study's storage lies; 0 where it is not seen, or not told.
        wrote: the file that it wrote into the meeting folder; "" where it could not.
        manifest: SHA-256 of the data set's manifest; "" where none was asked for or it could not be read.
        troubles: what it could not do, by folder; an operating system's words.
        gpus: that it hands out.
    """

    host: str
    address: str
    versions: Mapping[str, str]
    code: str
    free: int = 0
    wrote: str = ""
    manifest: str = ""
    troubles: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 0

    @property
    def name(self) -> str:
        """The machine's name, and its address, since names may be alike."""
        return f"{self.host} ({self.address})"


def answer(question: Question, node: str, address: str) -> Answer:
    """Try everything on this machine.

    Args:
        question: what is asked.
        node: names the file that this machine writes.
        address: by which the cluster knows it.
    """
    troubles: dict[str, str] = {}
    meeting, wrote, free, manifest = Path(question.meeting), "", 0, ""
    try:
        if read_shared(meeting / WORD_FILE) != question.word:
            troubles[question.meeting] = "shows another content than the driver wrote"
        write_text(meeting / node, question.word)
        wrote, free = node, shutil.disk_usage(meeting).free
    except OSError as error:
        troubles[question.meeting] = error.strerror or type(error).__name__
    if question.data is not None:
        try:
            manifest = hashlib.sha256((Path(question.data) / MANIFEST).read_bytes()).hexdigest()
        except OSError as error:
            troubles[question.data] = error.strerror or type(error).__name__
    host = platform.node()
    return Answer(host, address, versions(), code_digest(), free, wrote, manifest, troubles)


def versions() -> dict[str, str]:
    """Of what has to be the same on every machine, but that only those with GPUs need a CUDA, and the same one."""
    return {
        "sdl_study": sdl_study.__version__,
        "Python": platform.python_version(),
        "torch": torch.__version__.partition("+")[0],  # what follows names the build
        _CUDA: torch.version.cuda or _NONE,
    }


def read_shared(path: Path) -> str:
    """The content of a file that another machine wrote; it is waited for.

    Raises:
        OSError: it does not show.
    """
    deadline = time.monotonic() + _SEEN_SECONDS
    while True:
        try:
            return path.read_text()
        except FileNotFoundError:
            if not path.parent.parent.is_dir() or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def findings(question: Question, here: Answer, others: Sequence[Answer]) -> Iterator[str]:
    """A line for everything that is wrong with a machine, by its host's name and the folder.

    Args:
        question: what was asked.
        here: the driver's own answer.
        others: those of all machines.
    """
    for other in others:
        yield from _storage(question, here, other)
        for name, version in here.versions.items():
            found = other.versions.get(name, _NONE)
            if found != version and name != _CUDA:
                yield f"{other.name}: has {name} {found}, the driver {version}"
        if other.code != here.code:
            yield f"{other.name}: has other code (digest {other.code[:_SHOWN]}, the driver's {here.code[:_SHOWN]})"
    yield from _addresses(others)
    yield from _cuda(others)


def _addresses(others: Sequence[Answer]) -> Iterator[str]:
    """Machines that the others look for on themselves."""
    if len({other.address for other in others}) == 1:
        return
    for other in others:
        if other.address.startswith(_LOOPBACK):
            yield (
                f"{other.name}: Ray knows it by an address that no other machine finds it at; "
                "start Ray there with --node-ip-address"
            )


def _cuda(others: Sequence[Answer]) -> Iterator[str]:
    """Of machines with GPUs."""
    found = [(other, other.versions.get(_CUDA, _NONE)) for other in others if other.gpus]
    for other, version in found:
        first, expected = found[0]
        if version == _NONE:
            yield f"{other.name}: has GPUs, and a torch without CUDA"
        elif version != expected and expected != _NONE:
            yield f"{other.name}: has a torch for CUDA {version}, {first.name} for {expected}"


def _storage(question: Question, here: Answer, other: Answer) -> Iterator[str]:
    storage = Path(question.meeting).parent
    if (trouble := other.troubles.get(question.meeting)) is not None:
        yield f"{other.name}: does not share the folder of studies {storage} with the driver ({trouble})"
    elif not _arrived(question, other.wrote):
        yield f"{other.name}: what it writes in {storage} does not arrive at the driver: another folder of that name"
    elif 0 < other.free < _LEAST_FREE:
        yield f"{other.name}: {storage} has {other.free / 1e6:.0f} MB free"
    if question.data is None:
        return
    if (trouble := other.troubles.get(question.data)) is not None:
        yield f"{other.name}: does not see the prepared data in {question.data} ({trouble})"
    elif other.manifest != here.manifest:
        yield f"{other.name}: {question.data} holds another data set than the driver sees there"


def _arrived(question: Question, name: str) -> bool:
    """Whether the driver sees what a machine wrote."""
    try:
        return bool(name) and read_shared(Path(question.meeting) / name) == question.word
    except OSError:
        return False
