"""The usual pandas route to MIMIC's documents: read the columns, filter, join addenda and codes by admission.

    python tests/benchmarks/mimic_pandas.py SOURCE mimic-iii|mimic-iv

The reference that tests/benchmarks/mimic_size.py compares with; it writes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd


def table(folder: Path, stem: str) -> Path:
    """The file, packed or not."""
    return next(path for path in (folder / f"{stem}.csv", folder / f"{stem}.csv.gz") if path.is_file())


def mimic_iii(source: Path) -> tuple[pd.Series, pd.Series]:
    """Text and codes by admission."""
    columns = ["ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "DESCRIPTION", "TEXT"]
    notes = pd.read_csv(table(source, "NOTEEVENTS"), usecols=columns, dtype=str)
    notes = notes.loc[notes["CATEGORY"] == "Discharge summary", :]
    notes = notes.sort_values(["HADM_ID", "DESCRIPTION", "CHARTTIME", "CHARTDATE", "ROW_ID"])
    texts = notes.groupby("HADM_ID").TEXT.apply("\n".join)
    stems = ("DIAGNOSES_ICD", "PROCEDURES_ICD")
    read = [pd.read_csv(table(source, s), usecols=["HADM_ID", "ICD9_CODE"], dtype=str) for s in stems]
    return texts, pd.concat(read).dropna().groupby("HADM_ID").ICD9_CODE.agg(set)


def mimic_iv(source: Path) -> tuple[pd.Series, pd.Series]:
    """Text and codes by admission."""
    columns = ["note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "text"]
    notes = pd.read_csv(table(source / "note", "discharge"), usecols=columns, dtype=str)
    texts = notes.sort_values(["hadm_id", "note_type", "note_seq"]).groupby("hadm_id").text.apply("\n".join)
    columns = ["hadm_id", "icd_code", "icd_version"]
    stems = ("diagnoses_icd", "procedures_icd")
    found = pd.concat([pd.read_csv(table(source / "hosp", s), usecols=columns, dtype=str) for s in stems])
    return texts, found[found.icd_version == "9"].groupby("hadm_id").icd_code.agg(set)


if __name__ == "__main__":
    documents, labels = (mimic_iii if sys.argv[2] == "mimic-iii" else mimic_iv)(Path(sys.argv[1]))
    print(f"pandas: {len(documents.index.intersection(labels.index)):,} documents")
