"""Names that look alike: what of their form does not count, and how a difference that nobody sees is shown."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

_EXAMPLES, _LONGEST = 3, 40
_UNSEEN = ("Cf", "Cc")  # zero-width characters, marks of byte order and direction, soft hyphens, controls
_SIGNS = dict.fromkeys("‘’ʼ´`", "'") | dict.fromkeys("“”„", '"') | {"−": "-"}
_SHOWN_BY_NUMBER = (*_UNSEEN, "Mn", "Me", "Zl", "Zp")


def bare(name: str) -> str:
    """A name in Unicode's composed form, without invisible characters, blanks around it and more than one inside."""
    if name.isascii() and name.isprintable() and "  " not in name:
        return name.strip()
    name = "".join(" " if character.isspace() else character for character in name)
    seen = "".join(character for character in name if unicodedata.category(character) not in _UNSEEN)
    return " ".join(unicodedata.normalize("NFC", seen).split())


def folded(name: str) -> str:
    """A name as somebody may have meant it who wrote it in another way: neither case nor a letter's form counts."""
    signs = "".join(_SIGNS.get(c, "-" if unicodedata.category(c) == "Pd" else c) for c in name)
    return unicodedata.normalize("NFKC", bare(unicodedata.normalize("NFKC", signs)).casefold())


def visible(name: str) -> str:
    """A name with a number in place of whatever is not seen, or seen as something else."""
    latin = any(c.isascii() and c.isalpha() for c in name)
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
    """One line where labels differ in nothing but their form, with a few of them; none where there are no such."""
    groups = alike(codes)
    if not groups:
        return []
    short = [group for group in groups if all(len(code) <= _LONGEST for code in group)][:_EXAMPLES]
    examples = "; ".join(" and ".join(f"'{visible(code)}'" for code in group) for group in short)
    return [_note("labels", groups) + (f": {examples}" if examples else "")]


def note_on_groups(groups: Iterable[str]) -> list[str]:
    """The same for patients or authors, whose names are not shown."""
    found = alike(groups)
    return [_note("groups", found) + "; one patient may stand in two splits"] if found else []


def _note(what: str, groups: list[list[str]]) -> str:
    return (
        f"{sum(map(len, groups))} {what} differ from another one only in case, Unicode form, blanks or invisible "
        f"characters and may be {len(groups)}"
    )
