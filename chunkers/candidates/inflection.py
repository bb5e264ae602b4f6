"""Other forms of a word: number, tense, person, possessive, and the endings that turn one kind of word into another."""

from functools import cache

from chunkers.candidates.lexicon import Lexicon
from chunkers.candidates.wordlists import map_sets, read_rows

_ENDINGS = (
    "",
    "s",
    "es",
    "d",
    "ed",
    "ing",
    "r",
    "er",
    "or",
    "ly",
    "y",
    "al",
    "ion",
    "ions",
    "n",
    "en",
    "ity",
    "ment",
    "able",
    "ful",
    "ive",
    "t",
)
_STRIPPED = (
    "ies",
    "ing",
    "ions",
    "ion",
    "ily",
    "ally",
    "ly",
    "ed",
    "er",
    "es",
    "al",
    "ity",
    "ment",
    "able",
    "ible",
    "ful",
    "ive",
    "s",
    "d",
    "r",
    "y",
    "n",
    "t",
)
_MIN_STEM = 3


def list_forms(word: str, lexicon: Lexicon) -> list[str]:
    """Known forms of a word in lower case, the word itself left out; likelier endings first."""
    forms: dict[str, None] = dict.fromkeys(map_irregular().get(word, ()))
    if word.endswith("'s"):
        base = word.removesuffix("'s")
        forms.update(dict.fromkeys((base, base + "s")))
        return [form for form in forms if lexicon.is_known(form)]
    if word.endswith("'"):
        return [word.removesuffix("'")]
    for stem in _stems(word):
        for ending in _ENDINGS:
            for form in _join(stem, ending):
                if form != word and lexicon.is_known(form):
                    forms[form] = None
    if len(word) > 2 and lexicon.is_known(word):
        forms[word + "'s"] = None
        if word.endswith("s") and not word.endswith("ss"):
            forms[word.removesuffix("s") + "'s"] = None
    forms.pop(word, None)
    return list(forms)


@cache
def map_irregular() -> dict[str, tuple[str, ...]]:
    """Each irregular form to the others of its word."""
    return map_sets(read_rows("irregular"))


def _stems(word: str) -> list[str]:
    stems = [word]
    for ending in _STRIPPED:
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM:
            stem = word.removesuffix(ending)
            stems.append(stem)
            if ending in ("ies", "ily"):
                stems.append(stem + "y")
            elif ending in ("ing", "ion", "ions", "ed", "er", "able", "ity", "ive", "al"):
                stems.append(stem + "e")
                if stem[-1] == stem[-2]:
                    stems.append(stem[:-1])
            elif ending == "ly":
                stems.append(stem + "le")
    return stems


def _join(stem: str, ending: str) -> list[str]:
    if not ending:
        return [stem]
    joined = [stem + ending]
    if stem.endswith("e") and ending[0] in "aeioy":
        joined.append(stem[:-1] + ending)
    elif stem.endswith("y") and ending in ("es", "ed", "er", "ly", "ful"):
        joined.append(stem[:-1] + "i" + ending)
    elif ending in ("ing", "ed", "er") and len(stem) > 2 and stem[-1] not in "aeiouwxy" and stem[-2] in "aeiou":
        joined.append(stem + stem[-1] + ending)
    return joined
