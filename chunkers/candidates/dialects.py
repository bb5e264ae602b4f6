"""One word in two spellings: British and American ones, and those of the 18th and 19th centuries.

Owns the pairs, and what a text's own spellings say of where it comes from. A pair is no error on either side.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from chunkers.candidates.prose import Prose, match_case
from chunkers.candidates.wordlists import read_rows
from chunkers.records import Candidate, Category

MAX_COUNTED = 5
"""Times that one word counts as evidence: «colour» in a book about colours says no more than in another."""
NAMES = {"en-GB": "British", "en-US": "American"}
MIN_CLEAR = 6
"""Evidence that a text must have for one dialect before the other's spelling is an exception in it."""
CLEAR_SHARE = 0.9

_OUR = (
    "arb|ard|arm|behavi|cand|clam|clang|col|demean|enam|endeav|fav|ferv|flav|harb|hon|hum|lab|misdemean|neighb|od|parl|ranc|rig|rum|sav"
    "|savi|splend|succ|tum|val|vap|vig"
)
_OUR_ENDS = "s|ed|er|ers|ing|ings|able|ably|ful|fully|less|ite|ites|itism|y|hood|hoods|ly|er|liness|al|ist|ists"
_RE = "calib|cent|fib|goit|lit|lust|meag|millimet|centimet|kilomet|mit|och|sab|scept|sepulch|somb|spect|theat"
_LL = "cance|counse|dia|due|equa|fue|jewe|labe|leve|libe|marve|mode|pane|quarre|riva|signa|teetota|trave|tunne|unrave"
_LL_ENDS = "ed|er|ers|ing|ings|or|ors|ous|ously|ist|ists"
_PP = "kidna|worshi"
_YSE_ENDS = "e|ed|er|ers|es|ing"
_ISE_ENDS = "e|ed|er|ers|es|ing|ation|ations|ational"
_ALWAYS_ISE = re.compile(
    r"(adverti|advi|ari|ba|chasti|ci|circumci|compri|compromi|conci|cru|demi|despi|devi|disgui|enterpri|exci|exerci|experti|franchi|gui"
    r"|impreci|improvi|inci|likewi|merchandi|mortgagi|no|otherwi|paradi|poi|prai|preci|premi|promi|rai|repri|revi|ri|supervi|surmi"
    r"|surpri|televi|treati|vi|wi|si|pri|sei|cap[sz]i|bapti[sz]e|assi|resi)[sz](e|es|ed|er|ers|ing|ings)?"
)
"""Only what differs between the two spellings, not every word in -ise: «advize» is a misspelling of «advise»."""
_ISE = re.compile(rf"(\w{{3,}}[iy])s({_ISE_ENDS})"), r"\1z\2", re.compile(rf"(\w{{3,}}[iy])z({_ISE_ENDS})"), r"\1s\2"

# British pattern and what makes it American, American pattern and what makes it British
_STRICT = (
    (re.compile(rf"({_OUR})our({_OUR_ENDS})?"), r"\1or\2", re.compile(rf"({_OUR})or({_OUR_ENDS})?"), r"\1our\2"),
    (re.compile(rf"({_RE})re(s?)"), r"\1er\2", re.compile(rf"({_RE})er(s?)"), r"\1re\2"),
    (re.compile(rf"({_LL})ll({_LL_ENDS})"), r"\1l\2", re.compile(rf"({_LL})l({_LL_ENDS})"), r"\1ll\2"),
    (re.compile(rf"({_PP})pp(ed|er|ers|ing)"), r"\1p\2", re.compile(rf"({_PP})p(ed|er|ers|ing)"), r"\1pp\2"),
    (re.compile(r"(def|off|pret)ence(s?|less)"), r"\1ense\2", re.compile(r"(def|off|pret)ense(s?|less)"), r"\1ence\2"),
    (re.compile(rf"(anal|catal|paral)ys({_YSE_ENDS})"), r"\1yz\2", re.compile(rf"(anal|catal|paral)yz({_YSE_ENDS})"), r"\1ys\2"),
)  # fmt: skip
_LOOSE = (
    (re.compile(r"(met)re(s?)"), r"\1er\2"),
    (re.compile(r"(glam)our(s?)"), r"\1or\2"),
    (re.compile(r"(ana|cata|dia|epi|mono|pro)logue(s?)"), r"\1log\2"),
    (re.compile(r"(acknowledg|judg|abridg)ement(s?)"), r"\1ment\2"),
    (re.compile(r"(after|back|for|in|on|out|to|up|down|home)wards"), r"\1ward"),
    (re.compile(r"(burn|dream|lean|leap|learn|spoil)t"), r"\1ed"),
)
_OUR_STEM = re.compile(rf"(?:{_OUR})our\w*")
_NOT_REGIONAL = frozenset({"arbor", "rigor"})
"""A British tree's shelter is an arbour and its Latin an arbor; rigour becomes rigor in death."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a text's spellings say of where it comes from."""

    british: Counter[str]
    """British spellings that are no American ones, with how often they stand."""
    american: Counter[str]
    ize: int
    """Words in -ize: American, or British as Oxford spells."""
    ise: int

    @property
    def num_british(self) -> int:
        return sum(min(count, MAX_COUNTED) for count in self.british.values())

    @property
    def num_american(self) -> int:
        return sum(min(count, MAX_COUNTED) for count in self.american.values())

    @property
    def language(self) -> str | None:
        """`en-GB` or `en-US` by the greater number, -ise and -ize where the rest says nothing; None where nothing is said."""
        british, american = self.num_british, self.num_american
        if british == american:
            # -ize says little, for half of Britain's printers use it; -ise says much
            british, american = british + self.ise, american + self.ize // 2
        return None if british == american else "en-GB" if british > american else "en-US"

    @property
    def is_clear(self) -> bool:
        """Whether the text is in one dialect, and a spelling of the other is an exception."""
        most, both = max(self.num_british, self.num_american), self.num_british + self.num_american
        return most >= MIN_CLEAR and most >= CLEAR_SHARE * both

    def describe(self) -> str:
        """Such as «212 British, 3 American»; a word counts each time it stands."""
        return f"{self.british.total()} British, {self.american.total()} American"


def find(prose: Prose) -> Iterator[Candidate]:
    """Yields the spelling that the text has elsewhere, for a word of the other dialect in a text that is clearly of one.

    That is for consistency: the word is no misspelling. Where a style sheet says which spelling holds, decided.py has such words.
    """
    if prose.style.language != "auto":
        return
    evidence = weigh_prose(prose)
    if not evidence.is_clear or evidence.language is None:
        return
    message = f"{NAMES[evidence.language]} spelling elsewhere ({evidence.describe()})."
    for start, end, replacement in find_foreign(prose, evidence.language):
        yield prose.candidate(start, end, replacement, Category.SPELL, "dialect", message)


def find_foreign(prose: Prose, language: str) -> Iterator[tuple[int, int, str]]:
    """Words in small letters, or first of a sentence, that are written as in the other dialect only, with what they are in this one."""
    turn = to_british if language == "en-GB" else to_american
    for word in prose.words:
        if word.is_whole and (word.text.islower() or (word.is_first and word.text[1:].islower())):
            other = turn(word.lower)
            if other is not None and prose.is_free(word.start, word.end):
                yield word.start, word.end, match_case(word.text, other)


def weigh_prose(prose: Prose) -> Evidence:
    """Counts over the words in small letters: names are no evidence, for Pearl Harbor is spelled so in London."""
    return weigh_spelling(word.lower for word in prose.words if word.is_whole and word.text.islower())


def weigh_spelling(words: Iterable[str]) -> Evidence:
    """Counts what tells the dialects apart among words in lower case."""
    british: Counter[str] = Counter()
    american: Counter[str] = Counter()
    ise = ize = 0
    for word, count in Counter(words).items():
        match tell_dialect(word):
            case "en-GB":
                british[word] = count
            case "en-US":
                american[word] = count
            case _:
                if not _ALWAYS_ISE.fullmatch(word):
                    ise += min(count, MAX_COUNTED) * bool(_ISE[0].fullmatch(word))
                    ize += min(count, MAX_COUNTED) * bool(_ISE[2].fullmatch(word))
    return Evidence(british=british, american=american, ise=ise, ize=ize)


@cache
def tell_dialect(word: str) -> str | None:
    """`en-GB` or `en-US` for a word in lower case that is written so in one of them only; None for every other."""
    if to_american(word) is not None:
        return "en-GB"
    return "en-US" if to_british(word) is not None else None


@cache
def to_american(word: str) -> str | None:
    """The American spelling of a British one; None for words that both share."""
    if word in _map_regional():
        return _map_regional()[word]
    for british, american, _, _ in _STRICT:
        if british.fullmatch(word):
            return british.sub(american, word)
    return None


@cache
def to_british(word: str) -> str | None:
    """The British spelling of an American one; None for words that both share, those in -ize among them, as Oxford spells."""
    if word in _map_american():
        return _map_american()[word]
    if word in _NOT_REGIONAL:
        return None
    for _, _, american, british in _STRICT:
        if american.fullmatch(word):
            return american.sub(british, word)
    return None


@cache
def fold_spelling(word: str) -> str:
    """One form for all spellings of a word in lower case: American ones, and those of now."""
    word = _map_old().get(word, word)
    word = to_american(word) or word
    if not _ALWAYS_ISE.fullmatch(word):
        word = _ISE[0].sub(_ISE[1], word) if _ISE[0].fullmatch(word) else word
    for rule, folded in _LOOSE:
        word = rule.sub(folded, word) if rule.fullmatch(word) else word
    if _OUR_STEM.fullmatch(word):
        word = word.replace("our", "or", 1)
    return _map_loose().get(word, word)


@cache
def _map_regional() -> dict[str, str]:
    return {row[0]: row[1] for row in read_rows("regional")}


@cache
def _map_american() -> dict[str, str]:
    return {american: british for british, american in _map_regional().items()}


@cache
def _map_loose() -> dict[str, str]:
    return {row[0]: row[1] for row in read_rows("regional_loose")}


@cache
def _map_old() -> dict[str, str]:
    return {row[0]: row[1] for row in read_rows("old")}


def is_two_uses(word: str) -> bool:
    """Whether a word in lower case is of a kind of which a book may use both spellings, each in its place: learnt, and a learned man."""
    return any(rule.fullmatch(word) or rule.fullmatch(f"{word}s") for rule, _ in _LOOSE[-2:]) or word.endswith(_TWO_USES)


def is_loose(word: str) -> bool:
    """Whether a word in lower case has another spelling that is also another word, as «storey» and «story» are."""
    return word in _map_loose() or word in _loose_values()


_TWO_USES = ("burned", "dreamed", "leaned", "leaped", "learned", "spoiled", "forward", "backward", "inward", "outward", "onward", "upward")


@cache
def _loose_values() -> frozenset[str]:
    return frozenset(_map_loose().values())
