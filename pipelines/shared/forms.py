"""Names that look alike: what of their form does not count, and how a difference that nobody sees is shown."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

_EXAMPLES, _LONGEST = 3, 40
_UNSEEN = ("Cf", "Cc")  # zero-width characters, marks of byte order and direction, soft hyphens, controls
_SIGNS = dict.fromkeys("‘’ʼ´`", "'") | dict.fromkeys("“”„", '"') | {"−": "-"}
# Cyrillic and Greek letters whose glyph is a Latin one's (Unicode Technical Standard 39, confusables), upper and lower.
_LATIN_OF = str.maketrans(
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0405\u0406\u0408"
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0455\u0456\u0458"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf",
    "ABEKMHOPCTXSIJaeopcyxsijABEZHIKMNOPTYXo",
)
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_OF_SPREADSHEETS = re.compile(
    rf"\d{{1,2}}-(?:{_MONTHS})|(?:{_MONTHS})-\d{{2}}|\d(?:\.\d+)?e\+\d{{2,}}", re.IGNORECASE
)
_SHOWN_BY_NUMBER = (*_UNSEEN, "Mn", "Me", "Zl", "Zp")


def bare(name: str) -> str:
    """A name in Unicode's composed form, without invisible characters, blanks around it and more than one inside."""
    if name.isascii() and name.isprintable() and "  " not in name:
        return name.strip()
    name = "".join(" " if character.isspace() else character for character in name)
    seen = "".join(character for character in name if unicodedata.category(character) not in _UNSEEN)
    return " ".join(unicodedata.normalize("NFC", seen).split())


def folded(name: str) -> str:
    """A name as somebody may have meant it who wrote it in another way.

    Neither case nor a letter's form counts, nor whether a letter is another script's of the same look.
    """
    name = name.translate(_LATIN_OF)
    signs = "".join(_SIGNS.get(c, "-" if unicodedata.category(c) == "Pd" else c) for c in name)
    return unicodedata.normalize("NFKC", bare(unicodedata.normalize("NFKC", signs)).casefold())


def visible(name: str, among_latin: bool = False) -> str:
    """A name with a number in place of whatever is not seen, or seen as something else.

    Args:
        name: to be shown.
        among_latin: beside names in Latin letters, where a letter of another script may pass for one of theirs.
    """
    latin = among_latin or any(c.isascii() and c.isalpha() for c in name)
    return "".join(
        f"\\u{ord(c):04x}"
        if (latin and _is_of_another_script(c))
        or unicodedata.category(c) in _SHOWN_BY_NUMBER
        or (c.isspace() and c != " ")
        else c
        for c in name
    )


def _is_of_another_script(character: str) -> bool:
    """A letter that is none of Latin's, such as the Cyrillic one that looks like an e."""
    return (
        not character.isascii()
        and character.isalpha()
        and "LATIN" not in unicodedata.name(character, "LATIN")
    )


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that are one when folded, in order."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        groups[folded(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def note_on_labels(codes: Iterable[str]) -> list[str]:
    """One line where labels differ in nothing but their form, one where a spreadsheet may have changed them.

    Each with a few of them; none where there are no such.
    """
    codes = list(codes)
    groups = alike(codes)
    short = [group for group in groups if all(len(code) <= _LONGEST for code in group)][:_EXAMPLES]
    examples = "; ".join(" and ".join(_shown(code, group) for code in group) for group in short)
    notes = [_note("labels", groups) + (f": {examples}" if examples else "")] if groups else []
    changed = [code for code in codes if _OF_SPREADSHEETS.fullmatch(code)]
    if changed:
        shown = ", ".join(f"'{code}'" for code in sorted(changed)[:_EXAMPLES])
        what = (
            f"{len(changed)} label{'s' * (len(changed) > 1)} as a spreadsheet writes a date or a large number"
        )
        notes.append(f"{what}: {shown}; before it was opened in one it may have been SEP2, 3-1 or 2E10")
    return notes


def _shown(code: str, group: list[str]) -> str:
    return f"'{visible(code, among_latin=any(name.isascii() for name in group))}'"


def note_on_groups(groups: Iterable[str]) -> list[str]:
    """The same for patients or authors, whose names are not shown."""
    found = alike(groups)
    return [_note("groups", found) + "; one patient may stand in two splits"] if found else []


def _note(what: str, groups: list[list[str]]) -> str:
    return (
        f"{sum(map(len, groups))} {what} differ from another one only in case, Unicode form, blanks, invisible "
        f"characters or letters that look alike and may be {len(groups)}"
    )
