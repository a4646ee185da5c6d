"""Files of 1,500 rows with a fault after row 1,000, beyond what a first look at a file sees."""

from __future__ import annotations

from pathlib import Path

from pipelines import mimic, table
from tests.unit.pipelines.raw import note_iii, write_csv, write_iii, write_iv
from tests.unit.pipelines.spoilt import Source

ROWS = 1_500


class Long(Source):
    """What the long sources share: they spoil line 1,400 of `file`, the header being line 0."""

    file: Path

    def rewrite(self, old: str, new: str, file: Path | None = None) -> None:
        """Change `old`, which must be there, in line 1,400."""
        file = file or self.file
        lines = file.read_text().split("\n")
        assert old in lines[1_400]
        lines[1_400] = lines[1_400].replace(old, new)
        file.write_text("\n".join(lines))

    def change(self, old: bytes, new: bytes) -> None:
        """Change bytes that stand in one place of the file."""
        assert self.file.read_bytes().count(old) == 1
        self.file.write_bytes(self.file.read_bytes().replace(old, new))


class LongTable(Long):
    command = staticmethod(table.command)

    def make(self) -> None:
        rows = [(f"id {i}", f"text {i}", ("train", "dev", "test")[i % 3], "a b") for i in range(1, ROWS + 1)]
        self.file = write_csv(self.tmp / "table.csv", ["key", "body", "fold", "tags"], rows)

    def arguments(self) -> list[str]:
        columns = ["--text", "body", "--labels", "tags", "--split", "fold", "--separator", " "]
        return [str(self.file), str(self.out), *columns]

    def short_row(self) -> None:
        self.rewrite(",a b", "")

    def wide_row(self) -> None:
        self.rewrite("text ", "text, ")

    def very_wide_row(self) -> None:
        self.rewrite("a b", "a b,,")

    def bad_utf8(self) -> None:
        self.change(b"text 1400", b"text \xff")

    def open_quote(self) -> None:
        self.rewrite("text", '"text')

    def quote_that_is_not_doubled(self) -> None:
        self.rewrite("text 1400", '"text "1400"')
        self.file.write_text(self.file.read_text().replace("id 1399,", "id 1399,,"))

    def cut_off(self) -> None:
        content = self.file.read_text()
        self.file.write_text(content[: content.index("text 1450") + 7])


class LongMimicIII(Long):
    command = staticmethod(mimic.command)

    def make(self) -> None:
        notes = [
            note_iii(i, i, str(100 + i), f"text {i}", category="Radiology" if i % 7 == 0 else "Discharge summary")
            for i in range(1, ROWS + 1)
        ]  # fmt: skip
        codes = [(100 + i, "4019") for i in range(1, ROWS + 1)]
        self.raw = write_iii(self.tmp / "raw", notes, codes)
        self.file = self.raw / "NOTEEVENTS.csv"
        self.codes = self.raw / "DIAGNOSES_ICD.csv"

    def arguments(self) -> list[str]:
        options = ["--release", "mimic-iii", "--codes", "icd9", "--labels", "full"]
        return [str(self.raw), str(self.out), *options]

    def short_row_without_its_text(self) -> None:
        lines = self.file.read_text().split("\n")
        lines[1_401] = lines[1_401].rpartition(",,,")[0]
        self.file.write_text("\n".join(lines))

    def short_row_without_its_category(self) -> None:
        lines = self.file.read_text().split("\n")
        lines[1_402] = "1402,1402,1502"
        self.file.write_text("\n".join(lines))

    def wide_row(self) -> None:
        self.change(b"text 1403", b"text 1403,and,more")

    def wide_row_of_another_category(self) -> None:
        self.change(b"text 1400", b"text 1400,more")

    def cut_off_in_a_text(self) -> None:
        content = self.file.read_bytes()
        self.file.write_bytes(content[: content.index(b"text 1450") + 3])

    def bad_utf8(self) -> None:
        self.change(b"text 1404", b"text \xff")

    def bad_utf8_of_another_category(self) -> None:
        self.change(b"text 1407", b"text \xff")

    def stray_quote(self) -> None:
        self.change(b"text 1408", b'text 5" nail')

    def code_table_cut_off_in_a_code(self) -> None:
        self.codes.write_bytes(self.codes.read_bytes()[:-3])

    def short_code_row(self) -> None:
        self.rewrite(",4019", "", self.codes)

    def wide_code_row(self) -> None:
        self.rewrite("4019", "4019,,", self.codes)


class LongMimicIV(Long):
    command = staticmethod(mimic.command)

    def make(self) -> None:
        notes = [(i, 100 + i, f"text {i}") for i in range(1, ROWS + 1)]
        codes = [(100 + i, "I10", 10) for i in range(1, ROWS + 1)]
        self.raw = write_iv(self.tmp / "raw", notes, codes, codes, ending=".csv")
        self.file = self.raw / "note" / "discharge.csv"
        self.codes = self.raw / "hosp" / "procedures_icd.csv"

    def arguments(self) -> list[str]:
        options = ["--release", "mimic-iv", "--codes", "icd10", "--labels", "full"]
        return [str(self.raw), str(self.out), *options]

    def short_row(self) -> None:
        self.rewrite(",,text 1400", "")

    def wide_row(self) -> None:
        self.rewrite("text 1400", "text 1400,more")

    def cut_off(self) -> None:
        content = self.file.read_bytes()
        self.file.write_bytes(content[: content.index(b",text 1450")])

    def short_code_row(self) -> None:
        self.rewrite(",10", "", self.codes)

    def wide_code_row(self) -> None:
        self.rewrite("I10,10", "I10,10,10", self.codes)

    def code_table_cut_off(self) -> None:
        self.codes.write_bytes(self.codes.read_bytes()[:-1])
