"""Synthetic discharge summaries in MIMIC-IV's file layout, over real ICD-10-CM titles and synonyms.

No patient wrote them or is in them. What makes the task more than counting words: codes come in
clusters, a quarter of the mentions outside train use a synonym that train never shows, conditions
are also named to be denied or as family history, and some codes are never named at all.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipelines.shared.splits import hash_split

T = TypeVar("T")

ADMISSIONS = 10_000

_PRESENT = (
    "admitted with {}", "found to have {}", "{} noted", "history of {}", "treated for {}", "{} present",
    "known {}", "{} confirmed", "course complicated by {}",
)  # fmt: skip
_ABSENT = (
    "no evidence of {}", "denies {}", "{} ruled out", "negative for {}", "{} excluded", "without {}",
    "mother had {}", "father with {}", "family history of {}",
)  # fmt: skip
_FILLERS = (
    "seen by ___ on ___", "stable overnight", "labs reviewed", "follow up with dr ___", "tolerated diet",
    "imaging on ___ unchanged", "transferred from ___", "vital signs stable",
)  # fmt: skip
# Medications are handed out at random: words that say nothing about the codes.
_MEDICATIONS = (
    "acetaminophen", "albuterol", "allopurinol", "amiodarone", "amlodipine", "apixaban", "aspirin",
    "atorvastatin", "azithromycin", "baclofen", "bisacodyl", "bumetanide", "bupropion", "calcitriol",
    "carvedilol", "cefepime", "ceftriaxone", "cetirizine", "citalopram", "clopidogrel", "colchicine",
    "dexamethasone", "digoxin", "diltiazem", "docusate", "doxycycline", "duloxetine", "enoxaparin",
    "escitalopram", "famotidine", "fentanyl", "finasteride", "fluconazole", "fluticasone", "folate",
    "furosemide", "gabapentin", "glipizide", "guaifenesin", "heparin", "hydralazine", "hydrocortisone",
    "ibuprofen", "insulin", "ipratropium", "isosorbide", "labetalol", "lactulose", "lamotrigine",
    "levetiracetam", "levofloxacin", "levothyroxine", "lidocaine", "lisinopril", "loratadine", "lorazepam",
    "losartan", "magnesium", "melatonin", "metformin", "metoprolol", "metronidazole", "midodrine",
    "mirtazapine", "montelukast", "morphine", "nifedipine", "nitroglycerin", "olanzapine", "omeprazole",
    "ondansetron", "oxycodone", "pantoprazole", "piperacillin", "polyethylene", "potassium", "pravastatin",
    "prednisone", "pregabalin", "prochlorperazine", "quetiapine", "ranolazine", "rifaximin", "risperidone",
    "rosuvastatin", "senna", "sertraline", "sevelamer", "simethicone", "simvastatin", "spironolactone",
    "sucralfate", "tacrolimus", "tamsulosin", "thiamine", "ticagrelor", "tiotropium", "torsemide",
    "tramadol", "trazodone", "ursodiol", "valproate", "vancomycin", "venlafaxine", "verapamil", "warfarin",
    "zolpidem",
)  # fmt: skip


_CODE_HEADER = ("subject_id", "hadm_id", "seq_num", "icd_code", "icd_version")
_PROCEDURE_HEADER = ("subject_id", "hadm_id", "seq_num", "chartdate", "icd_code", "icd_version")
_NOTE_HEADER = (
    "note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text",
)  # fmt: skip


@dataclass(frozen=True)
class Code:
    """A code of the extract with its surface forms; the last one never stands in a training note."""

    code: str
    cluster: str
    title: str
    terms: tuple[str, str, str]
    held_out: str


def read_extract() -> list[Code]:
    """The committed extract of the ICD-10-CM tables (CMS, public domain)."""
    text = files("pipelines.demo").joinpath("icd10cm_extract.csv").read_text(encoding="utf-8")
    return [
        Code(r["code"], r["cluster"], r["title"], (r["term1"], r["term2"], r["term3"]), r["held_out_term"])
        for r in csv.DictReader(io.StringIO(text))
    ]


@dataclass(frozen=True)
class Admission:
    """One admission: its codes, and the notes of it."""

    subject_id: int
    hadm_id: int
    codes: tuple[Code, ...]
    notes: tuple[str, ...]


def write_mimic(folder: Path, seed: int, admissions: int = ADMISSIONS) -> None:
    """Write hosp/{diagnoses,procedures}_icd.csv.gz, hosp/d_icd_diagnoses.csv.gz and note/discharge.csv.gz."""
    made = generate(seed, admissions)
    diagnoses, notes = [], []
    for stay in made:
        for number, code in enumerate(stay.codes, start=1):
            diagnoses.append((stay.subject_id, stay.hadm_id, number, code.code.replace(".", ""), 10))
        # Codes of the older version stand in the same table; the pipeline has to leave them out.
        diagnoses.append((stay.subject_id, stay.hadm_id, len(stay.codes) + 1, "V5861", 9))
        for number, text in enumerate(stay.notes, start=1):
            kind = "DS" if number == 1 else "AD"
            key = f"{stay.subject_id}-{kind}-{stay.hadm_id % 1000}{number}-{stay.hadm_id}"
            time = "2150-01-01 00:00:00"
            notes.append((key, stay.subject_id, stay.hadm_id, kind, number, time, time, text))
    titles = [(code.code.replace(".", ""), 10, code.title) for code in read_extract()]
    hosp, note = folder / "hosp", folder / "note"
    _write(hosp / "diagnoses_icd.csv.gz", _CODE_HEADER, diagnoses)
    _write(hosp / "procedures_icd.csv.gz", _PROCEDURE_HEADER, [])
    _write(hosp / "d_icd_diagnoses.csv.gz", ("icd_code", "icd_version", "long_title"), titles)
    note_header = (
        "note_id",
        "subject_id",
        "hadm_id",
        "note_type",
        "note_seq",
        "charttime",
        "storetime",
        "text",
    )
    _write(note / "discharge.csv.gz", note_header, notes)


def generate(seed: int, admissions: int) -> list[Admission]:
    """Admissions in the order of their ids; a function of the arguments alone."""
    extract = read_extract()
    clusters = [[c for c in extract if c.cluster == name] for name in sorted({c.cluster for c in extract})]
    rng = np.random.default_rng(seed)
    made = []
    for i in range(admissions):
        subject = 10_000_000 + i - i % 10 + int(rng.integers(0, 8))
        in_train = hash_split(str(subject)) == "train"
        codes, themes = _draw_codes(rng, clusters)
        notes = _draw_notes(rng, codes, themes, in_train)
        made.append(Admission(subject, 20_000_000 + i, codes, notes))
    return made


def _draw_codes(
    rng: np.random.Generator, clusters: Sequence[list[Code]]
) -> tuple[tuple[Code, ...], list[Code]]:
    """One to four codes, most from one cluster; also the codes nearby, to draw distractors from."""
    home = int(rng.integers(len(clusters)))
    nearby = list(clusters[home])
    size = 1 + int(rng.random() < 0.6) + int(rng.random() < 0.35) + int(rng.random() < 0.15)
    pool = nearby
    if rng.random() < 0.35:
        pool = nearby + clusters[int(rng.integers(len(clusters)))]
    chosen = dict.fromkeys(int(k) for k in rng.permutation(len(pool))[:size])
    codes = tuple(dict.fromkeys(pool[k] for k in chosen))
    return codes, nearby


def _draw_notes(
    rng: np.random.Generator, codes: tuple[Code, ...], nearby: list[Code], in_train: bool
) -> tuple[str, ...]:
    # A few codes are billed and never named.
    clauses = [_pick(rng, _PRESENT).format(_term(rng, c, in_train)) for c in codes if rng.random() >= 0.06]
    others = [code for code in nearby if code not in codes]
    if others and rng.random() < 0.7:
        clauses.append(_pick(rng, _ABSENT).format(_term(rng, _pick(rng, others), in_train)))
    if rng.random() < 0.4:
        clauses.append(_pick(rng, _FILLERS))
    medications = [_pick(rng, _MEDICATIONS) for _ in range(int(rng.integers(3, 7)))]
    clauses.append("discharged on " + " ".join(medications))
    order = [int(k) for k in rng.permutation(len(clauses))]
    addendum = rng.random() < 0.03 and len(clauses) > 1
    body = [clauses[k] for k in order]
    late = [body.pop()] if addendum else []
    sex = "F" if rng.random() < 0.5 else "M"
    head = f" \nName: ___ Sex: {sex}\n\n"
    text = head + " . ".join(body) + " ."
    return (text, "Addendum: " + late[0] + " .") if late else (text,)


def _term(rng: np.random.Generator, code: Code, in_train: bool) -> str:
    if not in_train and rng.random() < 0.25:
        return code.held_out
    return _pick(rng, code.terms)


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No time and no name in the gzip header: the same bytes whenever and wherever it is written.
    with (
        path.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
