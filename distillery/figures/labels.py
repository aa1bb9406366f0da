"""Names as figures write them: every character is drawn as it is, or not at all; never as a box, never as a formula."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from matplotlib.font_manager import FontEntry, findfont, fontManager, get_font
from matplotlib.ft2font import FT2Font, LoadFlags

FONT = "DejaVu Sans"  # comes with Matplotlib: the same picture on every machine
WIDTH = 10.5  # the most that a label is wide, in em: 18 usual letters
JOINERS = "\u200c\u200d"  # invisible, and part of how words of some languages and emoji are written
# Fonts of Matplotlib's own that give a character another's shape, or a box with its number.
UNFIT = ("Last Resort", "STIXNonUnicode", "STIXSize", "cmb10", "cmex", "cmmi", "cmr10", "cmss", "cmsy", "cmti", "cmtt")


@dataclass(frozen=True)
class Labels:
    """What a figure writes.

    Attributes:
        names: of the classes, all different.
        title: of the figure.
        families: the fonts that have all characters, the usual one first.
        note: what `#7` means; empty where all names are drawn.
    """

    names: Sequence[str]
    title: str
    families: Sequence[str]
    note: str


def make_labels(names: Sequence[str], title: str = "") -> Labels:
    """Return what figures write for the names of classes, and for a title that may hold a name.

    A name that no font of the machine can draw is replaced by its number, `#7`; what cannot be seen, such as a tab, is
    escaped as in Python; a space at an end is `␣`; a long name is cut in the middle.
    """
    texts = [_visible(name) for name in names]
    families, missing = _fonts(set().union(title, *texts))
    undrawn = {number for number, text in enumerate(texts) if not text or missing.intersection(text)}
    labels = [f"#{number}" if number in undrawn else _cut(text) for number, text in enumerate(texts)]
    counts = Counter(map(_look, labels))
    for number, label in enumerate(labels):
        if counts[_look(label)] > 1:
            labels[number] = f"{_cut(label, WIDTH - width(f' #{number}'))} #{number}"
    if len(set(map(_look, labels))) < len(labels):
        labels = [f"#{number}" for number in range(len(labels))]
    numbered = any(label.endswith(f"#{number}") for number, label in enumerate(labels))
    title = "".join(f"\\u{ord(char):04x}" if char in missing else char for char in map(_escaped, title))
    return Labels(labels, title, families, "#: number of the class, from 0, as in per_class.csv" if numbered else "")


def _visible(name: str) -> str:
    """Return a name in which nothing is invisible."""
    inner = name.strip(" ")
    start = len(name) - len(name.lstrip(" "))
    return "␣" * start + "".join(map(_escaped, inner)) + "␣" * (len(name) - start - len(inner))


def _escaped(char: str) -> str:
    return char if char.isprintable() or char in JOINERS else char.encode("unicode_escape", "surrogatepass").decode()


def _look(label: str) -> str:
    """Return what two labels that look the same have in common."""
    return unicodedata.normalize("NFC", label)


def _cut(text: str, most: float = WIDTH) -> str:
    """Return a text that is at most so many em wide, the middle replaced by an ellipsis where it is longer."""
    if width(text) <= most:
        return text
    tail = _first(reversed(text), most / 3)[::-1]
    while tail and unicodedata.combining(tail[0]):  # its letter is cut away
        tail = tail[1:]
    return f"{_first(text, most - width('…') - width(tail))}…{tail}"


def _first(text: Iterable[str], most: float) -> str:
    """Return the beginning of a text that is at most so many em wide."""
    kept = ""
    for char in text:
        if width(kept + char) > most:
            break
        kept += char
    return kept


def width(text: str) -> float:
    """Return the width of a text in em, its letters one by one."""
    return sum(map(_advance, text))


@cache
def _advance(char: str) -> float:
    font = get_font(findfont(FONT))
    if not font.get_char_index(ord(char)):
        return 1.0
    return font.load_char(ord(char), LoadFlags.NO_SCALE).horiAdvance / font.units_per_EM


def _fonts(characters: set[str]) -> tuple[list[str], set[str]]:
    """Return the families that have the characters, the first that have them by name, and the characters of none."""
    families, usual = [FONT], get_font(findfont(FONT))
    missing = {char for char in characters if not usual.get_char_index(ord(char))}
    plain = {entry.name: entry for entry in reversed(fontManager.ttflist) if _is_plain(entry)} if missing else {}
    for family in sorted(plain):
        if not missing:
            break
        if Path(plain[family].fname).is_file():  # Matplotlib's list may be older than the machine's fonts
            font = get_font(findfont(family))
            if found := {char for char in missing if _draws(font, char)}:
                families.append(family)
                missing -= found
    return families, missing


def _is_plain(entry: FontEntry) -> bool:
    shape = entry.style, entry.weight, entry.stretch
    return shape == ("normal", 400, "normal") and not entry.name.startswith(UNFIT)


def _draws(font: FT2Font, char: str) -> bool:
    """Return whether a font has an outline of a character; those of coloured pictures have none."""
    if not (font.scalable and font.get_char_index(ord(char))):
        return False
    font.load_char(ord(char))
    return len(font.get_path()[0]) > 0
