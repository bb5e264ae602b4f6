"""How the documents of a run write what can be written in several ways: counts, from which a style sheet is proposed."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache

from harper import Dialect, Linter

from chunkers.candidates.conventions import DASH, ELLIPSIS
from chunkers.candidates.dialects import Evidence, weigh_spelling
from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.prose import OPAQUE, Prose, Word
from chunkers.passages import looks_like_verse
from chunkers.records import BlockKind, Document

_COMPOUND = re.compile(rf"(?<![\w{OPAQUE}.@/_-])[^\W\d_]+(?:-[^\W\d_]+)+(?![\w{OPAQUE}@/_-])")
_SERIAL = re.compile(r"\b\w+, (?:\w+ ){0,2}\w+(,?) (?:and|or) (?:\w+ ){0,2}\w+[.;:!?]")
_QUOTE = {"“": "curly", "”": "curly", "‘": "curly", "’": "curly", '"': "straight", "'": "straight"}
_ASKED_WORDS = 400
"""Words that the dictionary is asked about at a time."""


class Survey:
    """Counts over all documents that were added; protected parts and parts that are no prose are not counted."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        """Whole words as they stand, possessives without their ending, where no sentence begins, and not in headings and tables."""
        self.lowers: Counter[str] = Counter()
        """All whole words in lower case, likewise without ending."""
        self.smalls: Counter[str] = Counter()
        """Whole words that stand in small letters, with their endings: what tells of a dialect."""
        self.alone: dict[str, Counter[str]] = {}
        """For each word in lower case, the forms of it that stand beside no other word with a capital, as in a name or title."""
        self.compounds: Counter[str] = Counter()
        """Words with hyphens, in lower case."""
        self.pairs: Counter[tuple[str, str]] = Counter()
        """Words in lower case that stand side by side."""
        self.dashes: Counter[str] = Counter()
        self.ellipses: Counter[str] = Counter()
        self.quotes: Counter[str] = Counter()
        self.serial: Counter[bool] = Counter()
        """Lists of three with a comma before the conjunction, and without."""
        self.num_verse = 0
        """Paragraphs that look like verse."""

    def add(self, document: Document) -> None:
        """Count one document's prose."""
        prose = Prose(document)
        headings = [(block.start, block.end) for block in document.blocks if block.kind in (BlockKind.HEADING, BlockKind.TABLE)]
        words, at = prose.words, 0
        for index, word in enumerate(words):
            if word.after is not None:
                self.pairs[word.lower, word.after] += 1
            if not word.is_whole:
                continue
            text = strip_possessive(word.text)
            self.lowers[text.lower().replace("’", "'")] += 1
            if word.text.islower():
                self.smalls[word.lower] += 1
            while at < len(headings) and headings[at][1] <= word.start:
                at += 1
            if word.is_first or (at < len(headings) and headings[at][0] <= word.start):
                continue
            self.words[text] += 1
            if not _has_capital_beside(prose.masked, words, index):
                self.alone.setdefault(text.lower(), Counter())[text] += 1
        for start, end in prose.paragraphs:
            self._add_marks(prose.masked[start:end])
            self.num_verse += prose.kind_at(start) is BlockKind.PARAGRAPH and looks_like_verse(prose.masked[start:end])

    def _add_marks(self, text: str) -> None:
        self.compounds.update(match.group().lower() for match in _COMPOUND.finditer(text))
        self.dashes.update(match.group() for match in DASH.finditer(text))
        self.ellipses.update(match.group() for match in ELLIPSIS.finditer(text))
        self.quotes.update(_QUOTE[char] for char in text if char in _QUOTE)
        self.serial.update(bool(match[1]) for match in _SERIAL.finditer(text))

    @property
    def evidence(self) -> Evidence:
        """What the spelling says of where the text comes from."""
        return weigh_spelling(self.smalls.elements())

    def list_unknown(self, words: Iterable[str]) -> set[str]:
        """Those of the words that no dictionary has, British or American."""
        lexicon = load_lexicon()
        unknown = {word for word in words if not lexicon.is_known(word.lower())}
        for dialect in (Dialect.BRITISH, Dialect.AMERICAN):
            unknown = _list_misspelt(sorted(unknown), dialect)
        return unknown


def strip_possessive(word: str) -> str:
    """The word without «’s»."""
    return re.sub(r"[’']s$", "", word)


def _has_capital_beside(text: str, words: list[Word], index: int) -> bool:
    """As part of a name or title; the point of «Mrs.» parts nothing."""
    word = words[index]
    before = index > 0 and words[index - 1].text[0].isupper() and not text[words[index - 1].end : word.start].strip(" .\r\n")
    return before or (word.after is not None and words[index + 1].text[0].isupper())


@cache
def _load_speller(dialect: Dialect) -> Linter:
    speller = Linter(dialect)
    speller.set_lint_config({rule: rule == "SpellCheck" for rule in speller.get_lint_config()})
    return speller


def _list_misspelt(words: list[str], dialect: Dialect) -> set[str]:
    speller, found = _load_speller(dialect), set()
    for start in range(0, len(words), _ASKED_WORDS):
        text = "\n\n".join(words[start : start + _ASKED_WORDS])
        found |= {lint.problem_text for lint in speller.lint(text)}
    return found & set(words)
