"""The forms of verbs and nouns, and which words can be which: by English endings, and by what the lexicon saw around them.

A word counts as a verb where its own endings exist and it was seen after «to» or a modal. That is cheap and often wrong for words that are
nouns too; `num_as_verb` and `num_as_noun` say how strongly each reading is borne out.
"""

from dataclasses import dataclass
from functools import cache

from chunkers.candidates.lexicon import load_lexicon
from chunkers.candidates.wordlists import list_words, read_rows, read_words

MODALS = list_words("can could will would shall should may might must cannot")
ARTICLES = list_words("the a an")
_BEFORE_VERBS = ("to", *sorted(MODALS))
_BEFORE_NOUNS = tuple(sorted(list_words("the a an his its their this our my your her these those some any no every each")))
_VOWELS = frozenset("aeiou")
_NOT_FORMS = list_words("as is was has this his its us thus plus less")
"""Words in s that are no plural and no third person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """The forms of one verb."""

    base: str
    third: str
    past: str
    participle: str
    ing: str


@cache
def num_as_verb(word: str) -> int:
    """After how many of «to» and the ten modals the word was seen."""
    followers = load_lexicon().followers
    return sum(word in followers.get(before, ()) for before in _BEFORE_VERBS)


@cache
def num_as_noun(word: str) -> int:
    """After how many of 17 articles, possessives and the like the word was seen."""
    followers = load_lexicon().followers
    return sum(word in followers.get(before, ()) for before in _BEFORE_NOUNS)


def add_s(word: str) -> str:
    """The plural of a noun or the third person of a verb, by rule."""
    if word.endswith(("s", "x", "z", "ch", "sh")) or word in ("do", "go", "undergo"):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def _add(word: str, ending: str) -> tuple[str, ...]:
    """The word with «ed» or «ing»; with the last consonant doubled too where English might."""
    if word.endswith("e") and not (ending == "ing" and word.endswith(("ee", "oe", "ye"))):
        return (word[:-1] + ending,)
    if word.endswith("y") and ending == "ed" and word[-2:-1] not in _VOWELS:
        return (word[:-1] + "ied",)
    if len(word) > 2 and word[-1] not in "aeiouwxy" and word[-2] in _VOWELS and word[-3] not in _VOWELS:
        return (word + word[-1] + ending, word + ending)
    return (word + ending,)


@cache
def list_verbs() -> dict[str, Verb]:
    """Verbs by their base."""
    lexicon = load_lexicon()
    irregular = {row[0]: (row[1], row[2]) for row in read_rows("verbs")}
    seen = {word for before in _BEFORE_VERBS for word in lexicon.followers.get(before, ())} | irregular.keys()
    verbs = {}
    for base in sorted(seen - MODALS - read_words("no_verbs")):
        ing = max((form for form in _add(base, "ing") if lexicon.is_known(form)), key=lexicon.log_word, default=None)
        regular = max((form for form in _add(base, "ed") if lexicon.is_known(form)), key=lexicon.log_word, default=None)
        past, participle = irregular.get(base, (regular, regular))
        third = "has" if base == "have" else add_s(base)
        if ing is not None and past is not None and participle is not None and lexicon.is_known(third):
            verbs[base] = Verb(base=base, third=third, past=past, participle=participle, ing=ing)
    return verbs


@cache
def _map_forms(name: str) -> dict[str, Verb]:
    """Verbs by one of their forms; of two verbs with one form the commoner."""
    verbs = sorted(list_verbs().values(), key=lambda verb: load_lexicon().log_word(verb.base))
    return {getattr(verb, name): verb for verb in verbs}


def find_base(word: str) -> Verb | None:
    """The verb whose base the word is."""
    return list_verbs().get(word)


def find_third(word: str) -> Verb | None:
    """The verb whose third person the word is."""
    return _map_forms("third").get(word)


def find_past(word: str) -> Verb | None:
    """The verb whose past tense the word is."""
    return _map_forms("past").get(word)


def find_participle(word: str) -> Verb | None:
    """The verb whose past participle the word is."""
    return _map_forms("participle").get(word)


def find_ing(word: str) -> Verb | None:
    """The verb whose form in «ing» the word is."""
    return _map_forms("ing").get(word)


@cache
def _map_plurals() -> tuple[dict[str, str], dict[str, str]]:
    lexicon = load_lexicon()
    plurals = {row[0]: row[1] for row in read_rows("plurals")}
    for word in sorted({word for before in _BEFORE_NOUNS for word in lexicon.followers.get(before, ())}):
        if word not in plurals and len(word) > 2 and word not in _NOT_FORMS and lexicon.is_known(add_s(word)):
            plurals[word] = add_s(word)
    singulars: dict[str, str] = {}
    for word, plural in sorted(plurals.items(), key=lambda pair: lexicon.log_word(pair[0])):
        singulars[plural] = word
    return plurals, singulars


def find_plural(word: str) -> str | None:
    """The plural of a noun in the singular; None where the word is none."""
    return _map_plurals()[0].get(word) if word not in _map_plurals()[1] else None


def find_singular(word: str) -> str | None:
    """The singular of a noun in the plural; None where the word is none."""
    return _map_plurals()[1].get(word)
