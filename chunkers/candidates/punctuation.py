"""Marks: missing at an end, doubled, or one in the place of another."""

import re
from collections.abc import Iterator

from chunkers.candidates.prose import Prose
from chunkers.candidates.wordlists import read_rows, read_words
from chunkers.records import BlockKind, Candidate, Category

_DOUBLED = re.compile(r"(?<![.,;:!?…])(?:,,|;;|::|\.\.|,\.|\.,|;,|,;|,:|!!|:,|\.:)(?![.,;:!?…])|,(?= ,)|(?<=,) ,")
_END = re.compile(r"[^\W\d_)\]]\Z")
_CLOSED = re.compile(r"[^\W\d_](?=[”](?:\s+[“A-Z]|\s*\Z))")
_SAID = re.compile(r"\b(?:said|asked|cried|replied|answered|he|she|they|it|him|her|[A-Z][a-z]+)([,]?)(?= “[A-Z])")
_TAGGED = re.compile(r"[,!?]” \w+ (?:\w+ ){0,3}\w+\Z")
"""A speech with who said it, which ends a sentence however short."""
_QUOTED = re.compile(r"[.,](?=[”\"][,.;:](?:\s|\Z))")
_STARTERS = read_words("starters")
_OPENERS = read_words("openers")
_PHRASES = tuple(" ".join(row) for row in read_rows("phrases"))
_ASKERS = read_words("askers")
_NO_COMMA_AFTER = read_words("comma_never_after")
_DASHED = read_words("dashed")


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields marks to insert, change or delete; by paragraph, then by word."""
    for start, end in prose.paragraphs:
        yield from _find_doubled(prose, start, end)
        yield from _find_ends(prose, start, end)
    yield from _find_by_word(prose)


def _find_doubled(prose: Prose, start: int, end: int) -> Iterator[Candidate]:
    for match in _DOUBLED.finditer(prose.masked, start, end):
        if prose.is_free(*match.span()):
            marks = match.group()
            kept = ("",) if len(marks) == 1 or marks[0] == " " else tuple(dict.fromkeys(marks))
            for replacement in kept:
                yield prose.candidate(*match.span(), replacement, Category.PUNCT, "punctuation:doubled", "Two marks stand together.")


def _find_ends(prose: Prose, start: int, end: int) -> Iterator[Candidate]:
    text = prose.masked[start:end]
    kind = prose.kind_at(start)
    is_long = text.count(" ") > 7 and re.search(r"[.!?,;]\s", text)
    if kind in (BlockKind.PARAGRAPH, BlockKind.QUOTE) and text[-1:].isalpha() and (is_long or _TAGGED.search(text)):
        yield prose.candidate(end, end, ".", Category.PUNCT, "punctuation:end", "The paragraph ends without a mark.")
    for match in _QUOTED.finditer(text):
        place = start + match.start()
        yield prose.candidate(place, place + 1, "", Category.PUNCT, "punctuation:around_quote", "Two marks stand around a quotation mark.")
    for match in _CLOSED.finditer(text):
        place = start + match.end()
        for mark in ".,":
            yield prose.candidate(
                place, place, mark, Category.PUNCT, "punctuation:before_quote", "No mark stands before the closing quotation mark."
            )
    for match in _SAID.finditer(text):
        place = start + match.start(1)
        if match.group(1):
            yield prose.candidate(place, place + 1, ".", Category.PUNCT, "punctuation:speech")
        else:
            yield prose.candidate(place, place, ".", Category.PUNCT, "punctuation:speech")
    for place in (match.start() for match in re.finditer(r"\.(?=[\s”’)]|\Z)", text)):
        head = re.split(r"(?:[.!?;…]|,? [“‘]|\n\n)\s*[“‘]?", text[max(0, place - 200) : place])[-1].lstrip("“‘ \n")
        words = head.split()
        if 1 < len(words) < 30 and (words[0].lower() in _ASKERS or _is_tag(head)) and words[0][0].isupper() | _is_tag(head):
            yield prose.candidate(start + place, start + place + 1, "?", Category.PUNCT, "punctuation:question")


def _is_tag(head: str) -> bool:
    return (
        re.search(r", (?:did|do|does|is|are|was|were|have|has|had|can|could|will|would)(?:n[’']t)? (?:I|you|he|she|it|we|they)\Z", head)
        is not None
    )


def _find_by_word(prose: Prose) -> Iterator[Candidate]:
    masked = prose.masked
    has_dashes = "—" in masked
    for index, word in enumerate(prose.words):
        after = masked[word.end : word.end + 2]
        if word.text in _STARTERS and word.before is not None and not word.is_first:
            previous = prose.words[index - 1]
            if previous.text[-1].islower() and prose.is_free(previous.end, previous.end):
                yield prose.candidate(
                    previous.end, previous.end, ".", Category.PUNCT, "punctuation:sentence", "A sentence seems to start after this word."
                )
        if after[:1] == "," and word.lower in _NO_COMMA_AFTER and after[1:] == " " and prose.is_free(word.end, word.end + 1):
            yield prose.candidate(word.end, word.end + 1, "", Category.PUNCT, "punctuation:stray_comma")
        if word.is_first and word.lower in _OPENERS and after[:1] == " " and word.after is not None and prose.is_free(word.end, word.end):
            yield prose.candidate(word.end, word.end, ",", Category.PUNCT, "punctuation:opener")
        if word.is_first and word.after is not None:
            head = masked[word.start : word.start + 20].lower()
            for phrase in _PHRASES:
                if head.startswith(phrase + " "):
                    place = word.start + len(phrase)
                    if prose.is_free(place, place):
                        yield prose.candidate(place, place, ",", Category.PUNCT, "punctuation:opener")
        if after[:1] in ".,;" and after[1:] in (" ", "\n") and index + 1 < len(prose.words):
            yield from _find_wrong_mark(prose, index, after[0])
        if has_dashes and after[:1] == "-" and index + 1 < len(prose.words):
            following = prose.words[index + 1]
            if following.start == word.end + 1 and following.lower in _DASHED and masked[following.end : following.end + 1] == " ":
                yield prose.candidate(word.end, word.end + 1, "—", Category.PUNCT, "punctuation:dash")


def _find_wrong_mark(prose: Prose, index: int, mark: str) -> Iterator[Candidate]:
    word, following = prose.words[index], prose.words[index + 1]
    if prose.masked[word.end + 1 : following.start].strip() or not prose.is_free(word.end, word.end + 1):
        return
    small = read_words("small_words") | read_words("deletable_words")
    if mark == "." and following.text[0].islower() and len(word.text) > 3 and following.lower in small:
        yield prose.candidate(word.end, word.end + 1, ",", Category.PUNCT, "punctuation:wrong_mark")
    elif mark in ",;" and following.text in _STARTERS and following.text not in ("I",):
        yield prose.candidate(word.end, word.end + 1, ".", Category.PUNCT, "punctuation:wrong_mark")
