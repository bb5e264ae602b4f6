"""Harper's rules and dictionary as candidates.

Owns the choice of rules, the choice of dialect, and what counts as the document's own vocabulary.
"""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import groupby

from harper import Dialect, Language, Lint, Linter, Suggestion, SuggestionKind

from chunkers.candidates.dialects import fold_spelling, weigh_spelling
from chunkers.candidates.prose import Prose, match_apostrophe
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
_SMALL_WORD = re.compile(r"(?<![\w’'-])[a-z][^\W\d_]+(?![\w-])")
"""Names are no evidence: Pearl Harbor is spelled so in London."""
_DIALECT = {"en-GB": Dialect.BRITISH, "en-US": Dialect.AMERICAN}

_SWITCHED_OFF = read_words("harper_off")


def guess_dialect(text: str) -> Dialect:
    """British where British spellings outweigh American ones, else American."""
    return _DIALECT.get(weigh_spelling(match.group() for match in _SMALL_WORD.finditer(text)).language or "", Dialect.AMERICAN)


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields up to three candidates a lint, in document order by run of prose blocks."""
    dialect = _DIALECT.get(prose.style.language) or guess_dialect(prose.masked)
    linter = load_linter(dialect)
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
                if rule != "SpellCheck" or not (is_own_word(lint, offset, prose, counts) or is_elsewhere(lint.problem_text, dialect)):
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


@cache
def is_elsewhere(word: str, dialect: Dialect) -> bool:
    """Whether a word that the dialect's dictionary lacks is right in another dialect, or was right in the 19th century."""
    other = Dialect.AMERICAN if dialect is Dialect.BRITISH else Dialect.BRITISH
    folded = fold_spelling(word.lower())
    return is_listed(word, other) or (folded != word.lower() and (is_listed(folded, other) or is_listed(folded, dialect)))


@cache
def is_listed(word: str, dialect: Dialect) -> bool:
    """Whether the dialect's dictionary has the word."""
    return not any(lint.lint_kind == "Spelling" for lint in load_linter(dialect).lint(word))


def _list_suggestions(lint: Lint, rule: str, offset: int, prose: Prose) -> Iterator[Candidate]:
    category = categorize(lint)
    for suggestion in lint.suggestions[:MAX_SUGGESTIONS]:
        start, end, replacement = read_suggestion(lint, suggestion, offset, prose.text)
        is_indent = prose.text[start:end].isspace() and prose.text[max(0, start - 1) : start] in ("", "\n", "\r")
        if prose.text[start:end] != replacement and not is_indent and prose.is_free(start, end):
            yield prose.candidate(start, end, replacement, category, f"harper:{rule}", lint.message)


def categorize(lint: Lint) -> Category:
    """What Harper calls its lint, in our words."""
    return _CATEGORY.get(lint.lint_kind, Category.WORD)


def read_suggestion(lint: Lint, suggestion: Suggestion, offset: int, text: str) -> tuple[int, int, str]:
    """Start and end in `text`, of which the lint's own text begins at `offset`, and the replacement with the text's kind of apostrophe."""
    start, end = offset + lint.span.start, offset + lint.span.end
    if suggestion.kind is SuggestionKind.INSERT_AFTER:
        start = end
    replacement = "" if suggestion.kind is SuggestionKind.REMOVE else match_apostrophe(text, suggestion.replacement_text)
    return start, end, replacement


_linters = threading.local()


def load_linter(dialect: Dialect) -> Linter:
    """This thread's linter for a dialect: a linter that two threads use at once raises «Already borrowed»."""
    own: dict[Dialect, Linter] = _linters.__dict__.setdefault("by_dialect", {})
    if dialect not in own:
        linter = Linter(dialect)
        linter.set_lint_config(linter.get_lint_config() | dict.fromkeys(sorted(_SWITCHED_OFF), False))
        own[dialect] = linter
    return own[dialect]
