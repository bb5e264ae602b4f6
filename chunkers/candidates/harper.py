"""Harper's rules and dictionary as candidates.

Owns the choice of rules, the choice of dialect, and what counts as the document's own vocabulary.
"""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from harper import Dialect, Language, Lint, Linter, SuggestionKind

from chunkers.candidates.prose import Prose
from chunkers.candidates.wordlists import read_words
from chunkers.records import BlockKind, Candidate, Category

MAX_SUGGESTIONS = 3
_MIN_REPEATS = 3
"""An unknown word that stands this often is a term of the document."""
_MUCH_MORE = 5
"""A suggestion that stands this many times as often as the unknown word is the word that was meant."""
_CATEGORY = {
    "Spelling": Category.SPELL,
    "Typo": Category.SPELL,
    "Agreement": Category.AGREEMENT,
    "Grammar": Category.AGREEMENT,
    "Punctuation": Category.PUNCT,
    "Formatting": Category.SPACE,
    "Repetition": Category.EXTRA,
    "Redundancy": Category.EXTRA,
    "BoundaryError": Category.SPACE,
    "Capitalization": Category.CASE,
}
_LETTERS = re.compile(r"[^\W\d_]+(?:[’'][^\W\d_]+)*")
_BRITISH = re.compile(
    r"\b(?:(?:colou|honou|favou|labou|neighbou|behaviou|humou|harbou|odou|vapou|parlou|endeavou|flavou|rumou|splendou)r|(?:cent|theat|lit|met|fib|spect)re"
    r"|grey|whilst|amongst|defence|offence|pretence|travell(?:ed|ing|er)|jewellery|cheque|plough|programme|sceptic|waggon|gaol|storey|tyre"
    r"|(?:reali|recogni|organi|apologi|sympathi|memori|initiali|generali|optimi|speciali|seriali|normali|synchroni|utili)s(?:e|ed|es|ing|ation))s?\b",
    re.IGNORECASE,
)
_AMERICAN = re.compile(
    r"\b(?:(?:colo|hono|favo|labo|neighbo|behavio|humo|harbo|odo|vapo|parlo|endeavo|flavo|rumo|splendo)r|(?:cent|theat|lit|met|fib|spect)er"
    r"|gray|defense|offense|pretense|travel(?:ed|ing|er)|jewelry|plow|skeptic|traveler"
    r"|(?:reali|recogni|organi|apologi|sympathi|memori|initiali|generali|optimi|speciali|seriali|normali|synchroni|utili)z(?:e|ed|es|ing|ation))s?\b",
    re.IGNORECASE,
)

_SWITCHED_OFF = read_words("harper_off")


def guess_dialect(text: str) -> Dialect:
    """British where British spellings outnumber American ones, else American."""
    return Dialect.BRITISH if len(_BRITISH.findall(text)) > len(_AMERICAN.findall(text)) else Dialect.AMERICAN


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields up to three candidates a lint, in document order by run of prose blocks."""
    linter = load_linter(guess_dialect(prose.masked))
    language = Language.MARKDOWN if prose.document.format == "markdown" else Language.PLAINTEXT
    counts = Counter(match.group() for match in _LETTERS.finditer(prose.masked))
    for is_prose, blocks in groupby(prose.document.blocks, key=lambda block: block.kind.is_prose and block.kind is not BlockKind.TABLE):
        if not is_prose:
            continue
        run = list(blocks)
        offset = run[0].start
        text = prose.text[offset : run[-1].end]
        for rule, lints in linter.organized_lints(text, language=language).items():
            for lint in lints:
                if rule != "SpellCheck" or not is_own_word(lint, offset, prose, counts):
                    yield from _list_suggestions(lint, rule, offset, prose)


def is_own_word(lint: Lint, offset: int, prose: Prose, counts: Counter[str]) -> bool:
    """Whether an unknown word is a name or a term: capitalised inside a sentence, or frequent, and not a slip for a commoner one."""
    word = lint.problem_text
    times = counts[word]
    if any(counts[suggestion.replacement_text] >= _MUCH_MORE * max(times, 1) for suggestion in lint.suggestions):
        return False
    if times >= _MIN_REPEATS:
        return True
    if word[:1].islower():
        return False
    before = prose.text[max(0, offset + lint.span.start - 4) : offset + lint.span.start].rstrip(" \n“\"‘'(*_#->")
    return before[-1:] not in (".", "!", "?", ":") and before != ""


def _list_suggestions(lint: Lint, rule: str, offset: int, prose: Prose) -> Iterator[Candidate]:
    category = _CATEGORY.get(lint.lint_kind, Category.WORD)
    for suggestion in lint.suggestions[:MAX_SUGGESTIONS]:
        start, end = offset + lint.span.start, offset + lint.span.end
        replacement = suggestion.replacement_text
        if suggestion.kind is SuggestionKind.INSERT_AFTER:
            start = end
        elif suggestion.kind is SuggestionKind.REMOVE:
            replacement = ""
        if "’" in prose.text:
            replacement = replacement.replace("'", "’")
        is_indent = prose.text[start:end].isspace() and prose.text[max(0, start - 1) : start] in ("", "\n", "\r")
        if prose.text[start:end] != replacement and not is_indent and prose.is_free(start, end):
            yield prose.candidate(start, end, replacement, category, f"harper:{rule}", lint.message)


_linters = threading.local()


def load_linter(dialect: Dialect) -> Linter:
    """This thread's linter for a dialect: a linter that two threads use at once raises «Already borrowed»."""
    own: dict[Dialect, Linter] = _linters.__dict__.setdefault("by_dialect", {})
    if dialect not in own:
        linter = Linter(dialect)
        linter.set_lint_config(linter.get_lint_config() | dict.fromkeys(sorted(_SWITCHED_OFF), False))
        own[dialect] = linter
    return own[dialect]
