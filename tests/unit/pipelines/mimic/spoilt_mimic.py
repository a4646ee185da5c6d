"""MIMIC's files and ways to spoil them."""

from __future__ import annotations

import gzip

from pipelines import mimic
from tests.unit.pipelines.raw import NOTE_III, note_iii, write_csv, write_ids, write_iii, write_iv
from tests.unit.pipelines.spoilt import Source, make_unreadable


class MimicIII(Source):
    command = staticmethod(mimic.command)

    def make(self) -> None:
        notes = [note_iii(i, i, str(100 + i), f"text {i}") for i in range(60)]
        self.raw = write_iii(self.tmp / "raw", notes, [(100 + i, "4019") for i in range(60)])
        self.notes = self.raw / "NOTEEVENTS.csv"
        self.extra: list[str] = []

    def arguments(self) -> list[str]:
        given = [
            str(self.raw),
            str(self.out),
            "--release",
            "mimic-iii",
            "--codes",
            "icd9",
            "--labels",
            "full",
        ]
        return given + self.extra

    def header_only(self) -> None:
        write_csv(self.notes, NOTE_III, [])

    def missing_file(self) -> None:
        (self.raw / "PROCEDURES_ICD.csv").unlink()

    def missing_column(self) -> None:
        self.notes.write_text(self.notes.read_text().replace("HADM_ID", "ADMISSION"))

    def no_header(self) -> None:
        self.notes.write_text("1,2,3,4,5,6,7,8,9,10,John marker\n" + self.notes.read_text())

    def unreadable(self) -> None:
        make_unreadable(self.notes)

    def unreadable_codes(self) -> None:
        make_unreadable(self.raw / "DIAGNOSES_ICD.csv")

    def unreadable_split_list(self) -> None:
        self.split_list_without_ids()
        make_unreadable(self.tmp / "ids" / "dev_full_hadm_ids.csv")

    def wrong_delimiter(self) -> None:
        self.notes.write_text(self.notes.read_text().replace(",", ";"))

    def truncated_gzip(self) -> None:
        packed = gzip.compress(self.notes.read_bytes())
        (self.raw / "NOTEEVENTS.csv.gz").write_bytes(packed[: len(packed) // 2])
        self.notes.unlink()

    def bad_utf8(self) -> None:
        self.notes.write_bytes(self.notes.read_bytes().replace(b"text 30", b"text \xff\xfe"))

    def duplicate_ids(self) -> None:
        lines = self.notes.read_text().splitlines()
        self.notes.write_text("\n".join([*lines, lines[-1]]) + "\n")

    def more_fields_than_the_header(self) -> None:
        self.notes.write_text(self.notes.read_text().replace("text 30", "text 30,and,more"))

    def id_is_no_number(self) -> None:
        self.notes.write_text(self.notes.read_text().replace(",130,", ",13X,"))

    def empty_split(self) -> None:
        self.extra = ["--split", write_ids(self.tmp / "ids", "full", [100, 101], [102], [999])]

    def split_list_without_ids(self) -> None:
        self.extra = ["--split", write_ids(self.tmp / "ids", "full", [100, 101], [], [103])]

    def split_list_missing(self) -> None:
        self.extra = ["--split", f"ids:{self.tmp / 'nowhere'}"]

    def split_id_twice(self) -> None:
        self.extra = ["--split", write_ids(self.tmp / "ids", "full", [100, 101], [101], [103])]

    def output_is_taken(self) -> None:
        self.out.mkdir()
        (self.out / "precious").write_text("do not touch")


class MimicIV(Source):
    command = staticmethod(mimic.command)

    def make(self) -> None:
        notes = [(i, 100 + i, f"text {i}") for i in range(60)]
        self.raw = write_iv(self.tmp / "raw", notes, [(100 + i, "I10", 10) for i in range(60)], ending=".csv")
        self.notes = self.raw / "note" / "discharge.csv"
        self.codes = self.raw / "hosp" / "diagnoses_icd.csv"
        self.extra: list[str] = []

    def arguments(self) -> list[str]:
        options = ["--release", "mimic-iv", "--codes", "icd10", "--labels", "full", *self.extra]
        return [str(self.raw), str(self.out), *options]

    def header_only(self) -> None:
        self.notes.write_text(self.notes.read_text().partition("\n")[0] + "\n")

    def missing_file(self) -> None:
        self.notes.unlink()

    def missing_column(self) -> None:
        self.codes.write_text(self.codes.read_text().replace("icd_version", "version"))

    def wrong_delimiter(self) -> None:
        self.codes.write_text(self.codes.read_text().replace(",", "\t"))

    def truncated_gzip(self) -> None:
        packed = gzip.compress(self.notes.read_bytes())
        self.notes.with_suffix(".csv.gz").write_bytes(packed[:-40])
        self.notes.unlink()

    def bad_utf8(self) -> None:
        self.notes.write_bytes(self.notes.read_bytes().replace(b"text 30", b"text \xe9"))

    def duplicate_ids(self) -> None:
        self.notes.write_text(self.notes.read_text().replace("31-DS-31", "30-DS-30"))

    def more_fields_than_the_header(self) -> None:
        self.codes.write_text(self.codes.read_text().replace("I10,10", "I10,10,10", 1))

    def id_is_no_number(self) -> None:
        self.codes.write_text(self.codes.read_text().replace(",130,", ",,1", 1).replace(",131,", ",none,", 1))

    def unknown_code_version(self) -> None:
        self.codes.write_text(self.codes.read_text().replace("I10,10", "I10,11", 1))

    def empty_split(self) -> None:
        self.extra = ["--split", write_ids(self.tmp / "ids", "full", [100, 101], [102], [999])]

    def no_code_of_the_version(self) -> None:
        self.codes.write_text(self.codes.read_text().replace("I10,10", "4019,9"))

    def admission_of_two_patients(self) -> None:
        line = self.notes.read_text().splitlines()[-1].split(",")
        with self.notes.open("a") as file:
            file.write(",".join(["999-DS-99", "999", *line[2:]]) + "\n")
