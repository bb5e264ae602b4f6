"""Two ways of writing the same: quotation marks, regional and old spelling, contractions and their long forms.

Owns the question whether a change corrects anything or only restyles. A style guide may want such changes; a proofreader may not make them.
"""

import re

from chunkers.candidates.dialects import fold_spelling

_QUOTE_KINDS = {"'": "straight single", '"': "straight double"} | dict.fromkeys("‘’‚‛", "single") | dict.fromkeys("“”„‟", "double")
_STRAIGHT_OF = {"single": "straight single", "double": "straight double"}
_CONTRACTIONS = [
    (re.compile(r"\bcan(?:'t|not)\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\bshan't\b"), "shall not"),
    (re.compile(r"\blet's\b"), "let us"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"'m\b"), " am"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'ll\b"), " will"),
]
_SHORT_FORMS = {"'s": (" is", " has", " was"), "'d": (" would", " had"), "'ll": (" shall",)}
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def is_restyle(original: str, replacement: str) -> bool:
    """Whether the two differ only in straight against curly quotes, in regional or old spelling, or in contractions.

    A curly quote turned round is a correction, so is a straight one that became another kind of mark.
    """
    if original == replacement:
        return False
    if _differs_in_quotes(original, replacement):
        return True
    old, new = _fold(original), _fold(replacement)
    return old == new or _is_expansion(old, new) or _is_expansion(new, old)


def _differs_in_quotes(original: str, replacement: str) -> bool:
    return len(original) == len(replacement) and all(
        old == new or _is_same_quote(_QUOTE_KINDS.get(old), _QUOTE_KINDS.get(new)) for old, new in zip(original, replacement, strict=True)
    )


def _is_same_quote(old: str | None, new: str | None) -> bool:
    return _STRAIGHT_OF.get(old or "") == new is not None or _STRAIGHT_OF.get(new or "") == old is not None


def _fold(text: str) -> str:
    """Regional and old spellings and contractions in one form. Marks and letter case stay: to change those is a correction."""
    text = _WORD.sub(lambda match: _fold_word(match[0]), text.replace("’", "'"))
    for contraction, expanded in _CONTRACTIONS:
        text = contraction.sub(expanded, text)
    return text


def _fold_word(word: str) -> str:
    """In its own case; words with a hyphen are folded whole first: «to-day» is «today»."""
    folded = fold_spelling(word.lower())
    if folded == word.lower() and "-" in word:
        return "-".join(map(_fold_word, word.split("-")))
    if word.islower():
        return folded
    return folded.upper() if len(word) > 1 and word.isupper() else folded[:1].upper() + folded[1:] if word[1:].islower() else word


def _is_expansion(short: str, long: str) -> bool:
    return any(
        short.count(mark) == 1 and short.replace(mark, expanded) == long
        for mark, expansions in _SHORT_FORMS.items()
        for expanded in expansions
    )
