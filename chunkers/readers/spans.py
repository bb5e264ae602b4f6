"""Spans that need no parser: addresses, directives, TeX, stray bytes; and how overlapping spans become disjoint ones."""

import re
from collections.abc import Iterable, Iterator

from chunkers.readers.decode import STRAYS
from chunkers.records import Span

_URL = re.compile(r"\b(?:https?|ftp|file|mailto|doi|urn|isbn):[^\s<>\"“”{}|\\^`]+|\bwww\.[^\s<>\"“”{}|\\^`]+", re.IGNORECASE)
_SCHEME = re.compile(r"\b(?:https?|ftp|file|mailto|doi|urn|isbn):\Z", re.IGNORECASE)
_SCHEME_CHARS = 6
"""Of the longest."""
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62}){1,8}")
_DIRECTIVE = re.compile(
    r"\{\{(?:(?!\n[ \t]*\n|\{\{).){1,4000}?\}\}"  # {{#include …}}, {{< … >}}, {{ site.url }}
    r"|\{%(?:(?!\n[ \t]*\n|\{%).){1,4000}?%\}"  # Jekyll, Liquid
    r"|\{(?:[#.]|:[ ]?[#.]?)[\w-][^{}\n]{0,500}\}"  # attributes of Pandoc and kramdown
    r"|:[a-zA-Z]{1,40}:(?=`)|\{[a-zA-Z:-]{1,40}\}(?=`)"  # Sphinx and MyST roles
    r"|^[ \t>]*(:{3,})(?:[ \t]*\{[^}\n]*\}|[ \t]*[\w-]+)?[ \t]*$"  # fenced divisions
    r"|\[\^[^\]\s]{1,200}\]"  # footnote marks, defined or not
    r"|\[@[^\]\n]{1,200}\]"  # citations
    r"|\[!(?:NOTE|TIP|IMPORTANT|WARNING|CAUTION)\]",
    re.DOTALL | re.MULTILINE,
)
_TEX_EDGE = re.compile(r"\\(begin|end)\{([a-zA-Z]{1,30}\*?)\}")
_MAX_TEX_CHARS = 20_000
_AFTER_URL = ".,:;!?'’”»*_~"


def find_addresses(text: str) -> Iterator[Span]:
    """Bare URLs and e-mail addresses, without the punctuation of the sentence around them (GitHub's autolink rule)."""
    for match in _find_urls(text):
        address = _trim_address(match.group())
        if not address.endswith(":"):
            yield Span(start=match.start(), end=match.start() + len(address), kind="url")
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield Span(start=match.start(), end=match.end(), kind="url")


def _find_urls(text: str) -> Iterator["re.Match[str]"]:
    """What `_URL.finditer(text)` gives, looked for only at colons and at «www.»: an expression that ignores case is slow on long texts."""
    starts = []
    colon = text.find(":")
    while colon >= 0:
        if scheme := _SCHEME.search(text, max(0, colon - _SCHEME_CHARS), colon + 1):
            starts.append(scheme.start())
        colon = text.find(":", colon + 1)
    if "www." in text.lower():
        starts = sorted([*starts, *(match.start() for match in re.finditer(r"\bwww\.", text, re.IGNORECASE))])
    end = 0
    for start in starts:
        if start >= end and (match := _URL.match(text, start)):
            yield match
            end = match.end()


def _trim_address(address: str) -> str:
    for _ in range(4):
        trimmed = address.rstrip(_AFTER_URL)
        if address.endswith(";") and (entity := address.rfind("&")) >= 0 and address[entity + 1 : -1].isalnum():
            trimmed = address[:entity]
        for opening, closing in ("()", "[]"):
            num_excess = trimmed.count(closing) - trimmed.count(opening)
            num_last = len(trimmed) - len(trimmed.rstrip(closing))
            trimmed = trimmed[: len(trimmed) - max(min(num_excess, num_last), 0)]
        if trimmed == address:
            break
        address = trimmed
    return address


def find_tex(text: str) -> Iterator[Span]:
    """TeX environments outside dollar signs, from `\\begin{x}` to the next `\\end{x}`."""
    opened: dict[str, int] = {}
    for match in _TEX_EDGE.finditer(text):
        edge, name = match.groups()
        if edge == "begin":
            opened.setdefault(name, match.start())
        elif (start := opened.pop(name, None)) is not None and match.end() - start <= _MAX_TEX_CHARS:
            yield Span(start=start, end=match.end(), kind="math")


def find_directives(text: str) -> Iterator[Span]:
    """What Markdown's parser takes for prose and site generators do not: includes, shortcodes, roles, attributes, citations."""
    for match in _DIRECTIVE.finditer(text):
        yield Span(start=match.start(), end=match.end(), kind="markup")


def find_strays(text: str) -> Iterator[Span]:
    """Code points that stand for bytes that are not valid UTF-8."""
    for match in STRAYS.finditer(text):
        yield Span(start=match.start(), end=match.end(), kind="encoding")


def merge_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Disjoint spans that cover the same text, sorted; where two overlap the one that starts first (then the longer) keeps its kind.

    Spans of one kind that touch become one.
    """
    merged: list[Span] = []
    end = 0
    for span in sorted(spans, key=lambda span: (span.start, -span.end, span.kind)):
        if span.end > end:
            if merged and merged[-1].kind == span.kind and merged[-1].end >= span.start:
                merged[-1] = Span(start=merged[-1].start, end=span.end, kind=span.kind)
            else:
                merged.append(span if span.start >= end else Span(start=end, end=span.end, kind=span.kind))
            end = span.end
    return tuple(merged)
