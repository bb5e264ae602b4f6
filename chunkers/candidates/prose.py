"""The prose of a document as words with their neighbours: what every detector reads.

Owns which places a detector may look at. Parts that are not prose and protected parts are masked, character by character, so offsets stay
those of the document.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from chunkers.candidates.wordlists import read_words
from chunkers.records import BlockKind, Candidate, Category, Document

OPAQUE = "\ufffc"
"""Stands for a character of something that reads like a noun: code, a link's target, a formula."""
CLEAR = "\u2060"
"""Stands for a character of markup that a reader does not see, such as an asterisk of emphasis."""

_CLEAR_KINDS = frozenset({"markup", "html"})
_WORD = re.compile(r"[^\W\d_]+(?:[’'][^\W\d_]+)*")
_PLAIN_BEFORE = frozenset(" \n\r\t“‘\"'([{—–…\u2060*_>,;:!?|")
_BREAK = "\n\n"


@dataclass(frozen=True, slots=True)
class Word:
    """A run of letters and apostrophes, with the words that stand next to it."""

    start: int
    end: int
    text: str
    lower: str
    """Lower case, with straight apostrophes."""
    before: str | None
    """The word before in lower case where only white space or markup stands between, else None."""
    after: str | None
    is_whole: bool
    """False for a part of something larger: a compound with a hyphen, a path, a name with digits."""
    is_first: bool
    """True where a sentence, a line of a list, or a quotation may begin here."""


class Prose:
    """A document's prose. `masked` is as long as the text and equal to it outside of masked parts."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.style = document.style
        """What the book's people decided."""
        self.text = document.text
        pieces: list[str] = []
        position = 0
        holes = [(block.start, block.end, "") for block in document.blocks if not block.kind.is_prose]
        holes += [(span.start, span.end, CLEAR if span.kind in _CLEAR_KINDS else OPAQUE) for span in document.protected]
        for start, end, mask in sorted(holes):
            if end <= position:
                continue
            start = max(start, position)
            pieces.append(self.text[position:start])
            pieces.append(mask * (end - start) if mask else _BREAK * ((end - start) // 2) + "\n" * ((end - start) % 2))
            position = end
        pieces.append(self.text[position:])
        self.masked = "".join(pieces)
        self._starts = [block.start for block in document.blocks]
        self._protected = [span.start for span in document.protected]

    @cached_property
    def paragraphs(self) -> list[tuple[int, int]]:
        """Start and end of each prose block, blank lines after it left out."""
        ranges = []
        for block in self.document.blocks:
            if block.kind.is_prose:
                end = block.start + len(self.text[block.start : block.end].rstrip())
                if end > block.start:
                    ranges.append((block.start, end))
        return ranges

    @cached_property
    def words(self) -> list[Word]:
        """The words in document order."""
        masked = self.masked
        abbreviations = read_words("abbreviations")
        spans = [match.span() for match in _WORD.finditer(masked)]
        lowers = [masked[start:end].lower().replace("’", "'") for start, end in spans]
        close = [_is_gap(masked[left[1] : right[0]]) for left, right in pairwise(spans)]
        close.append(False)
        words = []
        last = len(spans) - 1
        for index, (start, end) in enumerate(spans):
            before = masked[start - 1] if start else "\n"
            after = masked[end : end + 2]
            joined = index > 0 and close[index - 1]
            words.append(
                Word(
                    start,
                    end,
                    masked[start:end],
                    lowers[index],
                    lowers[index - 1] if joined else None,
                    lowers[index + 1] if index < last and close[index] else None,
                    before in _PLAIN_BEFORE
                    and not (after[:1].isalnum() or after[:1] in _GLUE or (after[:1] == "." and after[1:].isalnum())),
                    not joined
                    and _begins_sentence(masked, start)
                    and not (index > 0 and lowers[index - 1] in abbreviations and masked[spans[index - 1][1] : start] == ". "),
                )
            )
        return words

    def is_free(self, start: int, end: int) -> bool:
        """Whether an edit of the range stays inside one prose block and touches nothing protected."""
        if self.masked[start:end] != self.text[start:end] or not self.kind_at(start).is_prose:
            return False
        if start == end:
            index = bisect_right(self._protected, start) - 1
            return index < 0 or not self.document.protected[index].start < start < self.document.protected[index].end
        return self.index_at(start) == self.index_at(end - 1)

    def index_at(self, position: int) -> int:
        """Index of the block that holds a position; the end of the text belongs to the last block."""
        return bisect_right(self._starts, position) - 1

    def kind_at(self, position: int) -> BlockKind:
        """Kind of the block that holds a position."""
        return self.document.blocks[self.index_at(position)].kind

    def candidate(self, start: int, end: int, replacement: str, category: Category, detector: str, message: str = "") -> Candidate:
        """A candidate for the range; the original is read from the document."""
        return Candidate(
            doc_id=self.document.doc_id,
            start=start,
            end=end,
            original=self.text[start:end],
            replacement=replacement,
            category=category,
            detector=detector,
            message=message,
        )


_GLUE = frozenset("-_/\\@’'" + OPAQUE)
_SENTENCE_END = re.compile(
    r"(?:[.!?…:]|\n\s*\n|^)[”’\"')\]]*[\s\u2060]*[“‘\"'(\[]*\Z|\n[ \t]*(?:[-*+>|#]|\d+[.)])?[ \t]*[“‘\"'(\[]*\Z|[“‘\"][“‘\"'(\[]*\Z"
)


def _is_gap(gap: str) -> bool:
    return gap == " " or (gap != "" and gap.count("\n") < 2 and not gap.strip(" \t\r\n" + CLEAR))


def _begins_sentence(masked: str, start: int) -> bool:
    return _SENTENCE_END.search(masked[max(0, start - 12) : start]) is not None


def match_case(original: str, replacement: str) -> str:
    """The replacement in the original's case: all capitals, first capital, or as it is."""
    if len(original) > 1 and original.isupper():
        return replacement.upper()
    if original[:1].isupper():
        return replacement[:1].upper() + replacement[1:]
    return replacement


def match_apostrophe(text: str, replacement: str) -> str:
    """The replacement with the kind of apostrophe that the text around it uses."""
    return replacement.replace("'", "’") if "’" in text else replacement
