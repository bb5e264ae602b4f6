"""Two ways of writing the same: quotation marks, British and American spelling, contractions and their long forms.

Owns the question whether a change corrects anything or only restyles. A style guide may want such changes; a proofreader may not make them.
"""

import re

_QUOTE_KINDS = {"'": "straight single", '"': "straight double"} | dict.fromkeys("‘’‚‛", "single") | dict.fromkeys("“”„‟", "double")
_STRAIGHT_OF = {"single": "straight single", "double": "straight double"}

# Only what differs between the two spellings, not every word in -ise: «advize» is a misspelling of «advise»
_ALWAYS_ISE = re.compile(
    r"(adverti|advi|ari|ba|chasti|ci|circumci|compri|compromi|conci|cru|demi|despi|devi|disgui|enterpri|exci|exerci|experti|franchi|gui"
    r"|impreci|improvi|inci|likewi|merchandi|mortgagi|no|otherwi|paradi|poi|prai|preci|premi|promi|rai|repri|revi|ri|supervi|surmi"
    r"|surpri|televi|treati|vi|wi)[sz](e|es|ed|er|ers|ing|ings)?"
)
_RULES = [
    (re.compile(r"(\w{3,}[iy])s(e|es|ed|er|ers|ing|ation|ations|ational)"), r"\1z\2"),
    (
        re.compile(
            r"(arb|ard|arm|behavi|cand|clam|clang|col|demean|enam|endeav|fav|ferv|flav|glam|harb|hon|hum|lab|misdemean|neighb|od|parl|ranc"
            r"|rig|rum|sav|savi|splend|succ|tum|val|vap|vig)our(\w*)"
        ),
        r"\1or\2",
    ),
    (
        re.compile(
            r"(calib|cent|fib|goit|lit|lust|manoeuv|meag|met|millimet|centimet|kilomet|mit|och|sab|scept|sepulch|somb|spect|theat)re(s?)"
        ),
        r"\1er\2",
    ),
    (
        re.compile(r"(cance|counse|dia|du|equa|fue|jewe|labe|leve|marve|mode|pane|quarre|riva|signa|trave|tunne|wors?hippe)ll(\w+)"),
        r"\1l\2",
    ),
    (re.compile(r"(ana|cata|dia|epi|mono|pro)logue(s?)"), r"\1log\2"),
    (re.compile(r"(def|off|pret)ence(s?)"), r"\1ense\2"),
    (re.compile(r"(analy|cataly|paraly)s(e|es|ed|er|ers|ing)"), r"\1z\2"),
    (re.compile(r"(acknowledg|judg|abridg)ement(s?)"), r"\1ment\2"),
    (re.compile(r"(among|amid)st"), r"\1"),
    (re.compile(r"(after|back|for|in|on|out|to|up|down|home)wards"), r"\1ward"),
    (re.compile(r"(burn|dream|lean|leap|learn|spoil)t"), r"\1ed"),
]
_PAIRS = {
    "aeroplane": "airplane", "ageing": "aging", "aluminium": "aluminum", "cheque": "check", "cosy": "cozy", "draught": "draft",
    "enrol": "enroll", "fulfil": "fulfill", "gaol": "jail", "grey": "gray", "greyer": "grayer", "instalment": "installment",
    "kerb": "curb", "mould": "mold", "moustache": "mustache", "plough": "plow", "programme": "program", "pyjamas": "pajamas",
    "sceptic": "skeptic", "sceptical": "skeptical", "skilful": "skillful", "smelt": "smelled", "spelt": "spelled",
    "spilt": "spilled", "storey": "story", "sulphur": "sulfur", "tyre": "tire", "whilst": "while", "wilful": "willful",
    "woollen": "woolen", "yoghurt": "yogurt",
}  # fmt: skip
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
_WORD = re.compile(r"[^\W\d_]+")


def is_restyle(original: str, replacement: str) -> bool:
    """Whether the two differ only in straight against curly quotes, in regional spelling, or in contractions.

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
    """Regional spellings and contractions in one form. Marks and letter case stay: to change those is a correction."""
    text = _WORD.sub(lambda match: _fold_spelling(match[0]), text.replace("’", "'"))
    for contraction, expanded in _CONTRACTIONS:
        text = contraction.sub(expanded, text)
    return text


def _fold_spelling(word: str) -> str:
    lower = word.lower()
    if not _ALWAYS_ISE.fullmatch(lower):
        for rule, folded in _RULES:
            lower = rule.sub(folded, lower) if rule.fullmatch(lower) else lower
    lower = _PAIRS.get(lower, lower)
    if word.islower():
        return lower
    return lower.upper() if len(word) > 1 and word.isupper() else lower.capitalize() if word.istitle() else word


def _is_expansion(short: str, long: str) -> bool:
    return any(
        short.count(mark) == 1 and short.replace(mark, expanded) == long
        for mark, expansions in _SHORT_FORMS.items()
        for expanded in expansions
    )
