"""The lists of words and letters beside this file: lines of entries between spaces, `#` before what is said of a list."""

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "lists"


@cache
def read_lines(name: str) -> tuple[tuple[str, ...], ...]:
    """The entries of each line, in the file's order."""
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(tuple(line.split()) for line in lines if not line.startswith("#"))


@cache
def read_pairs(name: str) -> dict[str, str]:
    """Of a list with two entries a line, each different at first."""
    return {first: second for first, second in read_lines(name)}  # noqa: C416 - dict() would lose the type


@cache
def read_others(name: str) -> dict[str, list[str]]:
    """For each word the others of its lines: one that stands there twice is met twice as often."""
    others: dict[str, list[str]] = {}
    for words in read_lines(name):
        for word in words:
            others.setdefault(word, []).extend(other for other in words if other != word)
    return others
