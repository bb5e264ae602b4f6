"""A style sheet proposed from the book itself: what its own majority does, each line with the counts that speak for it.

What is clear is a line that holds; what a person has to decide is the same line after a «#». Decisions that are in force already stay.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from chunkers.candidates.confusion import list_neighbours
from chunkers.candidates.dialects import fold_spelling, is_loose, is_two_uses, tell_dialect
from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.wordlists import read_words
from chunkers.style import Style
from postprocess.style_survey import Survey

MIN_TIMES = 3
"""A word that no dictionary has is one of the book's own from so many times on."""
MAX_WORDS = 300
CLEAR_SHARE = 0.75
"""Of the forms of a word: a majority that may speak for the book."""
CLEAR_MARKS = 0.9
"""Of dashes, ellipses and quotation marks, with at least MIN_MARKS of them."""
MIN_MARKS = 10
MIN_RIVAL_SHARE = 0.2
MIN_RIVALS = 2
"""Of the capitals of a common word, from where on its casing is asked about."""
MAX_COMMON = 15
"""Lines for the casing of common words."""
MAX_OPEN = 40
"""Lines for words that are written with a hyphen or as two: the most frequent ones."""
_SLIP_RATIO = 5
_ROMAN = re.compile(r"[ivxlcdm]+")
_KEPT_HYPHEN = ("re-", "co-", "pre-", "un-", "no-", "ex-")
"""«Re-cover» is not «recover»."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a proposed sheet."""

    key: str
    value: str | tuple[str, ...] | bool
    note: str
    """The counts, for the comment behind it."""
    is_clear: bool
    """Whether the line holds, or is left to the user as a comment."""
    times: int = 0
    """How often its forms stand."""


@dataclass(slots=True, kw_only=True)
class Proposal:
    """The lines of a proposed sheet by table."""

    base: Style
    """What is in force already; it stays."""
    language: Entry | None = None
    words: list[Entry] = field(default_factory=list)
    """`key` is the word, `value` the same."""
    casing: list[Entry] = field(default_factory=list)
    variants: list[Entry] = field(default_factory=list)
    conventions: list[Entry] = field(default_factory=list)
    num_verse: int = 0


def propose_style(survey: Survey, base: Style) -> Proposal:
    """What the counts say; the same for the same documents, whatever their order."""
    language = _propose_language(survey) if base.language == "auto" else None
    variants = _propose_variants(survey, base, has_language=base.language != "auto" or (language is not None and language.is_clear))
    changed = {form for entry in variants if isinstance(entry.value, tuple) for form in entry.value}
    # a form that the sheet would change has no right casing
    casing = [entry for entry in _propose_casing(survey, base) if entry.key not in changed]
    cased = {entry.key for entry in casing}
    words = [entry for entry in _propose_words(survey, base) if entry.key.lower() not in changed | cased]
    return Proposal(
        base=base,
        language=language,
        words=words[:MAX_WORDS],
        casing=casing,
        variants=variants,
        conventions=_propose_conventions(survey, base),
        num_verse=survey.num_verse,
    )


def _propose_language(survey: Survey) -> Entry | None:
    evidence = survey.evidence
    if evidence.language is None:
        return None
    endings = f", {evidence.ise} in -ise, {evidence.ize} in -ize" if evidence.ise or evidence.ize else ""
    return Entry(key="language", value=evidence.language, note=f"{evidence.describe()}{endings}", is_clear=evidence.is_clear)


def _propose_words(survey: Survey, base: Style) -> list[Entry]:
    """Words that no dictionary has, used often and in one form; the most frequent first."""
    decided = {word.lower() for form in [*base.words, *base.casing, *base.variants] for word in form.split()}
    decided |= {form for forms in base.variants.values() for form in forms}
    forms: dict[str, Counter[str]] = {}
    for word, times in survey.words.items():
        forms.setdefault(word.lower().replace("’", "'"), Counter())[word] += times
    often = {
        lower: counts
        for lower, counts in forms.items()
        if survey.lowers[lower] >= MIN_TIMES
        and len(lower) > 2
        and not _ROMAN.fullmatch(lower)
        and lower not in decided
        and "'" not in lower
    }
    best = {lower: max(sorted(counts), key=counts.__getitem__) for lower, counts in often.items()}
    unknown = survey.list_unknown(best.values())
    entries = []
    for lower, word in sorted(best.items(), key=lambda item: (-survey.lowers[item[0]], item[0])):
        counts = Counter({form: times for form, times in often[lower].items() if not form.isupper() or form == word})
        if word not in unknown or counts[word] < CLEAR_MARKS * counts.total() or _is_slip(lower, survey):
            continue
        entries.append(Entry(key=word, value=word, note=f"{survey.lowers[lower]}", is_clear=True))
    return entries


def _is_slip(lower: str, survey: Survey) -> bool:
    """Whether a word one letter away stands so much more often that this one may be a slip for it, or a plural of a word of the book."""
    times = survey.lowers[lower]
    near = {other for other in list_neighbours(lower) if other != lower and survey.lowers[other] >= _SLIP_RATIO * times}
    return any(not _is_inflected(lower, other) for other in near)


def _is_inflected(word: str, other: str) -> bool:
    shorter, longer = sorted((word, other), key=len)
    return longer in (shorter + "s", shorter + "d", shorter + "n", shorter + "r", shorter + "y")


def _propose_casing(survey: Survey, base: Style) -> list[Entry]:
    """Terms that stand in several capitals; those of sentence beginnings, headings, names and words in capitals throughout do not count."""
    lexicon = load_lexicon()
    small = read_words("small_words") | read_words("deletable_words") | read_words("function_words")
    decided = {term.lower() for term in base.casing}
    entries = []
    for lower, counts in sorted(survey.alone.items()):
        is_known = lexicon.is_known(lower)
        if len(lower) < 3 or not lower.isalpha() or lower in decided or lower in small or _ROMAN.fullmatch(lower):
            continue
        # of a common word, capitals throughout are emphasis
        forms = Counter({form: times for form, times in counts.items() if not (form.isupper() and is_known)})
        if len(forms) < 2 or forms.total() < MIN_TIMES:
            continue
        right = max(sorted(forms), key=forms.__getitem__)
        if forms[right] < 2:
            continue
        has_inner = any(form[1:] != form[1:].lower() for form in forms)
        is_clear = forms[right] >= CLEAR_SHARE * forms.total() and (has_inner or not is_known)
        rivals = forms.total() - forms[right]
        if not has_inner and is_known and (rivals < MIN_RIVALS or rivals < MIN_RIVAL_SHARE * forms.total()):
            continue  # some capitals among many small letters are titles, personifications and slips: nothing to decide
        entries.append(Entry(key=lower, value=right, note=_count_forms(forms), is_clear=is_clear, times=forms.total()))
    return _most(entries, MAX_COMMON)


def _propose_variants(survey: Survey, base: Style, *, has_language: bool) -> list[Entry]:
    changed = (form for forms in base.variants.values() for form in forms)
    decided = {form.lower() for form in [*base.variants, *changed, *base.words, *base.casing]}
    groups = [*_group_hyphens(survey), *_group_spellings(survey)]
    entries: list[Entry] = []
    seen: set[str] = set()
    for forms in groups:
        if seen & forms.keys() or decided & forms.keys() or len(forms) < 2:
            continue
        right = max(sorted(forms), key=forms.__getitem__)
        others = tuple(sorted(form for form in forms if form != right))
        is_two_words = any(" " in form for form in forms)
        if has_language and all(tell_dialect(form) is not None for form in forms):
            continue  # the language decides these
        is_clear = not is_two_words and not is_two_uses(right) and forms[right] >= MIN_TIMES and forms[right] >= CLEAR_SHARE * forms.total()
        seen |= forms.keys()
        entries.append(Entry(key=right, value=others, note=_count_forms(forms), is_clear=is_clear, times=forms.total()))
    return sorted(_most(entries, 2 * MAX_OPEN), key=lambda entry: (not entry.is_clear, entry.key))


def _most(entries: list[Entry], most: int) -> list[Entry]:
    """All clear lines, and of the others those of the most frequent forms."""
    others = [entry for entry in entries if not entry.is_clear]
    kept = {entry.key for entry in sorted(others, key=lambda entry: (-entry.times, entry.key))[:most]}
    return [entry for entry in entries if entry.is_clear or entry.key in kept]


def _group_hyphens(survey: Survey) -> Iterator[Counter[str]]:
    """The same letters with and without hyphens; as two words only where the book has both often, for it may mean both."""
    small = read_words("small_words") | read_words("deletable_words")
    for compound in sorted(survey.compounds, key=lambda compound: (-survey.compounds[compound], compound)):
        closed, parts = compound.replace("-", ""), compound.split("-")
        forms = Counter({compound: survey.compounds[compound]})
        if survey.lowers[closed] and not compound.startswith(_KEPT_HYPHEN):
            forms[closed] = survey.lowers[closed]
        pair = survey.pairs[parts[0], parts[1]] if len(parts) == 2 else 0
        if pair >= 2 and forms[compound] >= 2 and not small & set(parts) and not parts[0].endswith("ly") and min(map(len, parts)) > 2:
            forms[" ".join(parts)] = pair
        if len(forms) > 1 and forms.total() >= MIN_TIMES:
            yield forms


def _group_spellings(survey: Survey) -> Iterator[Counter[str]]:
    """Words that fold to one: regional and old spellings, and those with and without accents."""
    groups: dict[str, set[str]] = {}
    for word in survey.lowers:
        if "'" not in word and not is_loose(word):
            groups.setdefault(fold_spelling(_strip_accents(word)), set()).add(word)
    for _, words in sorted(groups.items()):
        forms = Counter({word: survey.lowers[word] for word in words})
        if len(forms) > 1 and forms.total() >= MIN_TIMES:
            yield forms


def _strip_accents(word: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFD", word) if not unicodedata.combining(char))


def _propose_conventions(survey: Survey, base: Style) -> list[Entry]:
    own = base.conventions
    found = [
        ("dash", own.dash, survey.dashes, {"—", " — ", " – ", "--"}),
        ("ellipsis", own.ellipsis, survey.ellipses, {"…", "..."}),
        ("quotes", own.quotes, survey.quotes, {"curly", "straight"}),
    ]
    entries = []
    for key, decided, counts, allowed in found:
        if decided is None and counts and (right := max(sorted(counts), key=counts.__getitem__)) in allowed:
            is_clear = counts.total() >= MIN_MARKS and counts[right] >= CLEAR_MARKS * counts.total()
            entries.append(Entry(key=key, value=right, note=_count_forms(counts), is_clear=is_clear))
    if own.serial_comma is None and survey.serial:
        with_comma, without = survey.serial[True], survey.serial[False]
        is_clear = with_comma + without >= MIN_MARKS and max(with_comma, without) >= CLEAR_MARKS * (with_comma + without)
        note = f"{with_comma} lists with it, {without} without"
        entries.append(Entry(key="serial_comma", value=with_comma >= without, note=note, is_clear=is_clear))
    return entries


def _count_forms(forms: Counter[str]) -> str:
    return ", ".join(f"{times} «{form}»" for form, times in sorted(forms.items(), key=lambda item: (-item[1], item[0])))
