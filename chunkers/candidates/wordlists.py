"""The word lists in `data/`: plain text, one entry a line, comments after «#»."""

from functools import cache
from importlib.resources import files


@cache
def read_rows(name: str) -> tuple[tuple[str, ...], ...]:
    """The words of each line of a list, in order."""
    text = files("chunkers.candidates").joinpath("data", f"{name}.txt").read_text("utf-8")
    lines = (line.split("#", 1)[0].split() for line in text.splitlines())
    return tuple(tuple(line) for line in lines if line)


@cache
def read_words(name: str) -> frozenset[str]:
    """All words of a list."""
    return frozenset(word for row in read_rows(name) for word in row)


def list_words(text: str) -> frozenset[str]:
    """The words of a short list that stands beside the rule that needs it."""
    return frozenset(text.split())


def map_sets(rows: tuple[tuple[str, ...], ...]) -> dict[str, tuple[str, ...]]:
    """Each word to the others of its sets, in the order of the list."""
    others: dict[str, dict[str, None]] = {}
    for row in rows:
        for word in row:
            others.setdefault(word, {}).update(dict.fromkeys(other for other in row if other != word))
    return {word: tuple(found) for word, found in others.items()}
