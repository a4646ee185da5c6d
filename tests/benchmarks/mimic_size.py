"""MIMIC at its real size: time and memory of pipelines.mimic beside the usual pandas route.

    python tests/benchmarks/mimic_size.py WORK [--sets mimic-iii mimic-iii-gz mimic-iv mimic-iv-gz] [--scale 1.0]

Generates the files (nothing of MIMIC is in them) under WORK, prepares them in a process of its own, runs
tests/benchmarks/mimic_pandas.py on the same files, prints all figures and removes what it generated.
Both find the files in the page cache, so that the disk is not what is timed. Needs about 12 GB of disk for
a set, and 12 GB of memory for pandas.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import psutil

NOTES, NOTE_BYTES = 2_083_180, 3_800_000_000
DISCHARGE_III, ADMISSIONS_III, PATIENTS_III = 59_652, 58_976, 46_520
DIAGNOSES_III, PROCEDURES_III = 651_047, 240_095
DISCHARGE_IV, PATIENTS_IV = 331_794, 145_914
DIAGNOSES_IV, PROCEDURES_IV = 4_756_326, 669_186
DISCHARGE_BYTES, DISCHARGE_BYTES_IV = 9_600, 10_500

HEADER_III = (
    "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,STORETIME,CATEGORY,DESCRIPTION,CGID,ISERROR,TEXT\n"
)
HEADER_IV = "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text\n"
OTHER = ("Nursing/other", "Radiology", "Nursing", "ECG", "Physician ", "Echo", "Respiratory ")
TARGETS = {"mimic-iii": 5.0, "mimic-iii-gz": 1.8, "mimic-iv": 5.0, "mimic-iv-gz": 1.8}
PEAK_GB = 3.0


class TextPool:
    """Lines of random words, quotes doubled as CSV wants them; slices of it are notes.

    Far larger than gzip's window, so that the file packs like prose and not like a repetition.
    """

    def __init__(self, size: int = 1 << 26, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
        weights = 1 / np.arange(1, 27)
        words = [
            "".join(rng.choice(letters, rng.integers(2, 11), p=weights / weights.sum()))
            for _ in range(30_000)
        ]
        words[::97] = [f'""{word}""' for word in words[::97]]
        words[::41] = [f"{word},\n" for word in words[::41]]
        frequency = 1 / np.arange(1, len(words) + 1) ** 0.9
        drawn = rng.choice(len(words), size // 6, p=frequency / frequency.sum())
        self.text = (" ".join(words[i] for i in drawn) + "\n").encode()
        self.ends = np.flatnonzero(np.frombuffer(self.text, dtype=np.uint8) == ord("\n")) + 1

    def slices(self, sizes: np.ndarray, rng: np.random.Generator) -> Iterator[bytes]:
        """Whole lines, each slice about as long as asked."""
        last = np.searchsorted(self.ends, len(self.text) - int(sizes.max()) - 1) - 1
        starts = self.ends[rng.integers(0, last, len(sizes))]
        stops = self.ends[np.searchsorted(self.ends, starts + sizes)]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            yield self.text[start:stop]


def opener(packed: bool) -> Callable[[Path], IO[bytes] | gzip.GzipFile]:
    """Open a file for writing, packed or plain."""
    if packed:
        return lambda path: gzip.open(path.with_name(path.name + ".gz"), "wb", compresslevel=3)
    return lambda path: path.open("wb")


def codes(rng: np.random.Generator, rows: int, kinds: int, digits: int) -> list[str]:
    """Undotted codes with a long tail."""
    frequency = 1 / np.arange(1, kinds + 1)
    names = [f"{i:0{digits}d}" for i in rng.permutation(10**digits)[:kinds]]
    return [names[i] for i in rng.choice(kinds, rows, p=frequency / frequency.sum())]


def write_iii(folder: Path, packed: bool, scale: float) -> None:
    """MIMIC-III 1.4's files at `scale` of their size."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True)
    admissions = 100_000 + np.arange(int(ADMISSIONS_III * scale))
    patients = rng.integers(1, int(PATIENTS_III * scale) + 2, len(admissions))
    write = opener(packed)
    for name, total, kinds, digits in (
        ("DIAGNOSES_ICD", DIAGNOSES_III, 6_984, 5),
        ("PROCEDURES_ICD", PROCEDURES_III, 2_009, 4),
    ):
        at = np.sort(rng.integers(0, len(admissions), int(total * scale)))
        with write(folder / f"{name}.csv") as file:
            file.write(b'"ROW_ID","SUBJECT_ID","HADM_ID","SEQ_NUM","ICD9_CODE"\n')
            for row, (i, code) in enumerate(
                zip(at.tolist(), codes(rng, len(at), kinds, digits), strict=True)
            ):
                file.write(f'{row},{patients[i]},{admissions[i]},{row % 9 + 1},"{code}"\n'.encode())
    total, discharge = int(NOTES * scale), int(DISCHARGE_III * scale)
    is_summary = np.zeros(total, dtype=bool)
    is_summary[rng.permutation(total)[:discharge]] = True
    with_summary = np.concatenate([np.arange(len(admissions)), rng.integers(0, len(admissions), discharge)])
    of_summary = iter(
        with_summary[: len(admissions)][rng.permutation(len(admissions))][: int(discharge * 0.884)]
    )
    others = (NOTE_BYTES - DISCHARGE_III * DISCHARGE_BYTES) / (NOTES - DISCHARGE_III)
    sizes = (np.where(is_summary, DISCHARGE_BYTES, others - 90) * rng.gamma(4, 1 / 4, total)).astype(int) + 20
    any_admission = rng.integers(0, len(admissions), total).tolist()
    with write(folder / "NOTEEVENTS.csv") as file:
        file.write(HEADER_III.encode())
        for row, text in enumerate(TextPool().slices(sizes, rng)):
            if is_summary[row]:
                # A summary for every other admission in turn, then addenda for some of them.
                i = next(of_summary, any_admission[row])
                kind, category = ("Report" if row % 8 else "Addendum"), "Discharge summary"
                hadm = f"{admissions[i]}"
            else:
                i, kind, category = any_admission[row], "Report", OTHER[row % len(OTHER)]
                hadm = f"{admissions[i]}.0" if row % 3 else ""
            file.write(
                f'{row + 1},{patients[i]},{hadm},2150-01-01,,,"{category}","{kind}",,,"'.encode()
                + text
                + b'"\n'
            )


def write_iv(folder: Path, packed: bool, scale: float) -> None:
    """MIMIC-IV 2.2's code tables and MIMIC-IV-Note 2.2's discharge summaries at `scale` of their size."""
    rng = np.random.default_rng(4)
    (folder / "hosp").mkdir(parents=True)
    (folder / "note").mkdir()
    total = int(DISCHARGE_IV * scale)
    admissions = 20_000_000 + rng.permutation(total * 2)[:total]
    patients = 10_000_000 + np.sort(rng.integers(0, int(PATIENTS_IV * scale) + 1, total))
    write = opener(packed)
    for name, rows, kinds, digits in (
        ("diagnoses_icd", DIAGNOSES_IV, 20_000, 5),
        ("procedures_icd", PROCEDURES_IV, 8_000, 4),
    ):
        at = np.sort(rng.integers(0, total, int(rows * scale)))
        version = np.where(at % 5 < 2, 10, 9)
        middle = ",2150-01-01" if name.startswith("procedures") else ""
        with write(folder / "hosp" / f"{name}.csv") as file:
            head = "subject_id,hadm_id,seq_num" + (",chartdate" if middle else "") + ",icd_code,icd_version\n"
            file.write(head.encode())
            for i, code, number in zip(
                at.tolist(), codes(rng, len(at), kinds, digits), version.tolist(), strict=True
            ):
                file.write(f"{patients[i]},{admissions[i]},1{middle},{code},{number}\n".encode())
    sizes = (DISCHARGE_BYTES_IV * rng.gamma(6, 1 / 6, total)).astype(int) + 50
    with write(folder / "note" / "discharge.csv") as file:
        file.write(HEADER_IV.encode())
        for i, text in enumerate(TextPool().slices(sizes, rng)):
            start = f"{patients[i]}-DS-{i},{patients[i]},{admissions[i]},DS,{i % 99},2150-01-01 00:00:00,,"
            file.write(start.encode() + b'"' + text + b'"\n')


class Cost(NamedTuple):
    """What a command took; processor time tells more than seconds on a machine that is busy with other things."""

    seconds: float
    processor_seconds: float
    peak_gb: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s ({self.processor_seconds:.1f} s of processor time), peak {self.peak_gb:.2f} GB"


def processor_seconds() -> float:
    """User and system time of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(command: list[str], raw: Path) -> Cost:
    """Run a command on the files of `raw`, which are read once before."""
    for file in raw.rglob("*.csv*"):
        with file.open("rb", buffering=0) as stream:
            while stream.read(1 << 24):
                pass
    started, used = time.perf_counter(), processor_seconds()
    process = psutil.Popen(command)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.NoSuchProcess:
                return
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    watcher.join()
    if code:
        raise subprocess.CalledProcessError(code, command)
    return Cost(time.perf_counter() - started, processor_seconds() - used, peak / 1e9)


def run(name: str, work: Path, scale: float) -> bool:
    """Generate, prepare, compare and remove one set; True if it is within its targets."""
    release, packed = name.removesuffix("-gz"), name.endswith("-gz")
    raw, out = work / "raw" / name, work / "prepared" / name
    started = time.perf_counter()
    (write_iii if release == "mimic-iii" else write_iv)(raw, packed, scale)
    size = sum(file.stat().st_size for file in raw.rglob("*") if file.is_file()) / 1e9
    print(f"{name}: generated {size:.2f} GB in {time.perf_counter() - started:.0f} s", flush=True)
    labels = ["--release", release, "--codes", "icd9", "--labels", "full"]
    ours = [sys.executable, "-m", "pipelines.mimic", str(raw), str(out), *labels]
    pandas = [sys.executable, str(Path(__file__).with_name("mimic_pandas.py")), str(raw), release]
    try:
        usual = measure(pandas, raw)
        cost = measure(ours, raw)
        counts = json.loads((out / "manifest.json").read_text())["counts"]
        documents = sum(split["examples"] for split in counts.values())
    finally:
        shutil.rmtree(raw)
        shutil.rmtree(out, ignore_errors=True)
    ratio, target = usual.seconds / cost.seconds, TARGETS[name]
    less_work = usual.processor_seconds / cost.processor_seconds
    good = cost.peak_gb <= PEAK_GB and ratio >= target
    print(
        f"{name}: {documents:,} documents; pipelines.mimic {cost} (at most {PEAK_GB}); pandas {usual}",
        flush=True,
    )
    verdict = "ok" if good else "MISSED"
    print(
        f"{name}: {ratio:.2f} times as fast (at least {target}), {less_work:.2f} times less work: {verdict}",
        flush=True,
    )
    return good


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path, help="folder for the generated files")
    parser.add_argument("--sets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    results = [run(name, given.work, given.scale) for name in given.sets]
    raise SystemExit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
