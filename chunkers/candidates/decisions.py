"""What a style sheet means for words: which forms are right, which are to be changed, and which changes undo a decision.

Rules and guards read it alike, so that what one proposes the other keeps.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chunkers.candidates.conventions import find_breaches
from chunkers.candidates.lexicon import load_lexicon
from chunkers.style import NO_STYLE, Conventions, Style

_ENDINGS = r"(?:[’']s|s[’']|s|d|ed|ing|er|ers|ly)?"
"""What may follow a form that is to be changed: «e-mailed» becomes «emailed»."""
_GAP = r"[\s\u2060]*"
_SENTENCE_END = re.compile(
    rf"(?:^|[.!?:…|]|\n\s*\n)[”’\"')\]*_]*{_GAP}[“‘\"'(\[*_#>-]*{_GAP}\Z"
    r"|[“\"][*_\u2060]*\Z"
    r"|\n[ \t\u2060]*(?:[-*+>|#]|\d+[.)]|\u2060)+[ \t\u2060]*[“‘\"'(*_]*\Z"
)
"""U+2060 stands for markup where the text is masked."""
_WORD = re.compile(r"\w+")
_TERM_GAP = re.compile(r"\s+|['’]")
_SENTENCE_REACH_CHARS = 16
_LIST_REACH_CHARS = 160
_MARK_REACH_CHARS = 8
_CONJUNCTION = re.compile(r"\s+(?:and|or|nor)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A form in a text that a decision changes."""

    start: int
    end: int
    right: str
    """What stands there by the decision."""
    detector: str
    """`style:casing` or `style:variant`."""


class Decisions:
    """A style sheet made ready to be asked about a text."""

    def __init__(self, style: Style) -> None:
        self.style = style
        # of a form that is a common word, another word in its place undoes nothing: «show» may become «shows»
        forms = [*style.words, *(right for right in style.variants if not _is_common(right))]
        cased = [right for right in style.casing.values() if not right.islower()]
        self._small = _compile((form for form in forms if form.islower()), "", re.IGNORECASE)
        self._exact = _compile((form for form in [*forms, *cased] if not form.islower()), "")
        self._casing = {_fold_term(right): right for right in style.casing.values()}
        self._terms = _compile(self._casing, "", re.IGNORECASE, edge=r"[\w-]")
        self._preferred = {form.replace("’", "'"): right for right, changed in style.variants.items() for form in changed}
        self._lower = {form: right for form, right in self._preferred.items() if form.islower()}
        self._changed = _compile(self._preferred, _ENDINGS, re.IGNORECASE, edge=r"[\w-]", gap=" ")
        entries = [*style.words, *style.variants, *style.casing.values(), *self._preferred]
        self._reach_chars = max((len(form) for form in entries if " " in form), default=0)
        own = style.conventions
        self._conventions = [
            Conventions.model_validate({name: getattr(own, name)})
            for name in ("dash", "ellipsis", "quotes")
            if getattr(own, name) is not None
        ]
        self._words = frozenset(word for form in [*style.words, *style.variants, *style.casing.values()] for word in form.split())

    def accepts(self, word: str) -> bool:
        """Whether a single word, possessive or not, is written as somebody decided; one decided in small letters may have capitals."""
        return any(form in self._words or form.lower() in self._words for form in (word, re.sub(r"[’']s?$", "", word)))

    def find_wrong(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Wrong]:
        """Forms of `text[start:end]` that a decision changes, in order by kind; capitals at the beginning of a sentence are none."""
        end = len(text) if end is None else end
        if self._terms is not None:
            for match in self._terms.finditer(text, start, end):
                decided = self._casing.get(_fold_term(match.group()))
                if decided is None:
                    continue  # letters that are alike for a pattern and fold differently, as «İ» and «i» do
                right = _keep_gaps(match.group(), decided)
                if match.group() != right and not _may_be_capitalised(text, match, right):
                    yield Wrong(start=match.start(), end=match.end(), right=right, detector="style:casing")
        if self._changed is not None:
            for match in self._changed.finditer(text, start, end):
                made = self._change(match)
                if made is not None:
                    yield Wrong(start=match.start(), end=match.end(), right=made, detector="style:variant")

    def _change(self, match: "re.Match[str]") -> str | None:
        form, ending = match[1].replace("’", "'"), match.group()[len(match[1]) :]
        right = self._preferred.get(form)
        if right is None:
            found = self._lower.get(form.lower())
            if found is None:
                return None
            right = found.upper() if form.isupper() and len(form) > 1 else found[:1].upper() + found[1:] if form[:1].isupper() else found
        if ending and ending[0] not in "’'" and right[-2:].lower() != form[-2:].lower():
            return None  # «e-mail» and «email» take the same endings, «gaol» and «jail» may not
        return right + ending

    def undoes(self, text: str, start: int, end: int, replacement: str) -> bool:
        """Whether changing `text[start:end]` loses a form that is decided as right, makes one that is decided as wrong, or goes against a
        convention.

        A form that stands twice may go once: that is what a doubled word asks for.
        """
        if self.style.is_empty:
            return False
        first, last = widen_to_words(text, start - self._reach_chars, end + self._reach_chars)
        # with the text before it, for a sentence's beginning is told by that
        lead = text[max(0, first - _SENTENCE_REACH_CHARS) : first]
        changed = lead + text[first:start] + replacement + text[end:last]
        return (
            self._loses_form(text, first, last, changed, len(lead))
            or self._makes_wrong(text, first, last, changed, len(lead))
            or self._moves_comma(text, start, end, replacement)
            or self._breaks_convention(text, start, end, replacement)
        )

    def _loses_form(self, text: str, first: int, last: int, changed: str, offset: int) -> bool:
        for pattern in (self._small, self._exact):
            if pattern is None:
                continue
            fold = str.lower if pattern is self._small else str
            lost = Counter(fold(match.group()) for match in pattern.finditer(text, first, last))
            lost -= Counter(fold(match.group()) for match in pattern.finditer(changed, offset))
            has_new = bool(Counter(_WORD.findall(changed, offset)) - Counter(_WORD.findall(text, first, last)))
            for form in lost:
                twice = rf"(?<!\w){re.escape(form)}[\s,]+{re.escape(form)}(?!\w)"
                if has_new or form not in fold(changed[offset:]) or not re.search(twice, fold(text[first:last])):
                    return True
        return False

    def _makes_wrong(self, text: str, first: int, last: int, changed: str, offset: int) -> bool:
        new = Counter(changed[wrong.start : wrong.end] for wrong in self.find_wrong(changed, offset))
        return bool(new - Counter(text[wrong.start : wrong.end] for wrong in self.find_wrong(text, first, last)))

    def _moves_comma(self, text: str, start: int, end: int, replacement: str) -> bool:
        wanted = self.style.conventions.serial_comma
        if wanted is None:
            return False
        first, last = max(0, start - _LIST_REACH_CHARS), min(len(text), end + 8)
        old, new = text[first:last], text[first:start] + replacement + text[end:last]
        if old.replace(",", "") != new.replace(",", ""):
            return False
        return _count_serial(old) > _count_serial(new) if wanted else _count_serial(old) < _count_serial(new)

    def _breaks_convention(self, text: str, start: int, end: int, replacement: str) -> bool:
        if self.style.conventions == NO_STYLE.conventions:
            return False
        first, last = max(0, start - _MARK_REACH_CHARS), min(len(text), end + _MARK_REACH_CHARS)
        old, new = text[first:last], text[first:start] + replacement + text[end:last]
        return any(
            sum(1 for _ in find_breaches(new, conventions)) > sum(1 for _ in find_breaches(old, conventions))
            for conventions in self._conventions
        )


def _fold_term(term: str) -> str:
    """What a term and every way of writing it share: whatever its capitals, apostrophes and line ends."""
    return " ".join(term.casefold().replace("’", "'").split())


def _keep_gaps(form: str, right: str) -> str:
    """The right casing with the white space and apostrophes of the form that stands there."""
    gaps = iter(_TERM_GAP.findall(form))
    return _TERM_GAP.sub(lambda _: next(gaps), right)


def begins_sentence(text: str, start: int) -> bool:
    """Whether a sentence, a line of a list or a quotation may begin at the position."""
    return _SENTENCE_END.search(text[max(0, start - _SENTENCE_REACH_CHARS) : start]) is not None


def _may_be_capitalised(text: str, match: "re.Match[str]", right: str) -> bool:
    """Whether a term stands in capitals for its place: first of a sentence, or among words that are all in capitals."""
    form = match.group()
    if right[0].islower() and form == right[0].upper() + right[1:] and begins_sentence(text, match.start()):
        return True
    if not form.isupper() or len(form) < 2:
        return False
    before, after = (
        re.search(r"(\w+)\W{1,3}\Z", text[max(0, match.start() - 30) : match.start()]),
        re.match(r"\W{1,3}(\w+)", text[match.end() :][:30]),
    )
    return any(near is not None and near[1].isupper() and near[1].isalpha() for near in (before, after))


def _is_common(form: str) -> bool:
    return all(load_lexicon().is_known(word) for word in form.lower().split())


def widen_to_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The range, cut to the text, with the whole words that it touches and what hyphens tie to them."""
    start, end = max(0, start), min(len(text), end)
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] in "-’'_"):
        start -= 1
    while end < len(text) and (text[end].isalnum() or text[end] in "-’'_"):
        end += 1
    return start, end


def _compile(forms: Iterable[str], endings: str, flags: int = 0, edge: str = r"\w", gap: str = r"\s+") -> "re.Pattern[str] | None":
    # the longest first: of «e-mail» and «e-mail address» the second
    longest = sorted(set(forms), key=lambda form: (-len(form), form))
    if not longest:
        return None
    words = "|".join(gap.join(_escape(part) for part in form.split(" ")) for form in longest)
    return re.compile(rf"(?<!{edge})({words}){endings}(?!{edge})", flags)


def _escape(part: str) -> str:
    return re.sub(r"['’]", "['’]", re.escape(part))


def _count_serial(text: str) -> int:
    """Commas before a conjunction that ends a list of three or more."""
    return sum(
        _CONJUNCTION.match(text, comma.end()) is not None and "," in re.split(r"[.!?;:]|\n\s*\n", text[: comma.start()])[-1]
        for comma in re.finditer(",", text)
    )
