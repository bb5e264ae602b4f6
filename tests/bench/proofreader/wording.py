"""Errors of whole words: another form, another word, one too few, one too many, two in the wrong order, a capital."""

from tests.bench.proofreader.draft import Draft, match_case
from tests.bench.proofreader.vocabulary import fold
from tests.bench.proofreader.wordlists import read_others

_FORM_POWER, _NEAR_POWER = 0.3, 0.5
"""A word comes as often as this power of its count: rare ones more often than in the texts."""
_QUOTE_REACH = 200
"""Tokens to both sides that are looked at for how apostrophes are written."""


def change_form(draft: Draft, index: int) -> bool:
    """Write another word of the family, or an apostrophe where none belongs."""
    chance, word = draft.chance, draft.tokens[index]
    low = fold(word)
    kind = chance.random()
    if kind < 0.14:
        return _change_possessive(draft, index)
    irregular = read_others("forms").get(low)
    if kind < 0.40 and irregular:
        other = chance.choice(irregular)
    elif family := draft.vocabulary.family.get(low):
        other = chance.choices(family, [draft.vocabulary.counts.get(each, 1) ** _FORM_POWER for each in family])[0]
    else:
        return False
    if other == low:
        return False
    draft.tokens[index] = match_case(word, other)
    return True


def _change_possessive(draft: Draft, index: int) -> bool:
    chance, word = draft.chance, draft.tokens[index]
    apostrophe = "’" if "’" in word or chance.random() < 0.5 else "'"
    if word.endswith(("’s", "'s")):
        stem = word[:-2]
        draft.tokens[index] = chance.choice([f"{stem}s", stem, f"{stem}s{apostrophe}"])
    elif word.endswith("s") and len(word) > 4:
        draft.tokens[index] = f"{word[:-1]}{apostrophe}s"
    elif len(word) > 4 and chance.random() < 0.15:
        draft.tokens[index] = f"{word}{apostrophe}s"
    else:
        return False
    return True


def change_word(draft: Draft, index: int) -> bool:
    """Write another word: one that people confuse with it, or one that is a letter away."""
    chance, word = draft.chance, draft.tokens[index]
    low, confused = fold(word), read_others("confused")
    if chance.random() < 0.5 and (low in confused or word in confused):
        other = chance.choice(confused.get(low) or confused[word])
    else:
        near = draft.vocabulary.near.get(low)
        if not near or (low in confused and chance.random() < 0.3):
            return False
        other = chance.choices(near, [draft.vocabulary.counts.get(each, 1) ** _NEAR_POWER for each in near])[0]
    around = draft.tokens[max(0, index - _QUOTE_REACH) : index + _QUOTE_REACH]
    if "'" in other and any("’" in token for token in around):
        other = other.replace("'", "’")
    other = other if other == "I" else match_case(word, other)
    if other == word:
        return False
    draft.tokens[index] = other
    return True


def leave_out_word(draft: Draft, index: int) -> bool:
    """Leave a word out with the space beside it; mostly one of the small ones, wherever it stands."""
    chance, tokens = draft.chance, draft.tokens
    if chance.random() < 0.88:
        places = draft.list_words((draft.pick_small_word(),))
        if not places:
            return False
        index = chance.choice(places)
    word = tokens[index]
    if not word:
        return False
    if draft.is_space(index + 1):
        tokens[index] = ""
        if index == 0 or not tokens[index - 1] or tokens[index - 1][-1].isspace():
            tokens[index + 1] = ""
        after = tokens[index + 2] if index + 2 < len(tokens) else ""
        if word[0].isupper() and after and chance.random() < 0.7:
            tokens[index + 2] = after[0].upper() + after[1:]
        return True
    if index > 0 and draft.is_space(index - 1):
        tokens[index - 1 : index + 1] = ["", ""]
        return True
    return False


def add_word(draft: Draft, index: int) -> bool:
    """Write the word twice, with one that is confused with it, or after a small word that does not belong."""
    chance, word = draft.chance, draft.tokens[index]
    low, confused = word.lower(), read_others("confused")
    kind = chance.random()
    if kind < 0.3:
        again = word[:1].lower() + word[1:] if word != "I" and word[1:].islower() else word
        draft.tokens[index] = f"{word} {again}"
    elif kind < 0.5 and low in confused:
        other = chance.choice(confused[low])
        if chance.random() >= 0.5:
            draft.tokens[index] = f"{word} {other}"
        else:
            draft.tokens[index] = f"{match_case(word, other)} {low}" if word[:1].isupper() else f"{other} {word}"
    elif word[:1].isupper():
        return False
    else:
        draft.tokens[index] = f"{draft.pick_small_word()} {word}"
    return True


def change_case(draft: Draft, index: int) -> bool:
    """Write small what is large, less often large what is small."""
    chance, word = draft.chance, draft.tokens[index]
    if word == "I" or (word[:1].isupper() and word[1:].islower()):
        draft.tokens[index] = word.lower()
    elif word.islower() and len(word) > 2 and chance.random() < 0.25:
        draft.tokens[index] = word[0].upper() + word[1:]
    elif word.isupper() and len(word) > 2 and chance.random() < 0.5:
        draft.tokens[index] = chance.choice([word.lower(), word.capitalize()])
    else:
        return False
    return True


def change_article(draft: Draft, index: int) -> bool:
    """Write `an` for an `a` or the other way, anywhere."""
    places = draft.list_words(("a", "an"))
    if not places:
        return False
    place = draft.chance.choice(places)
    article = draft.tokens[place]
    draft.tokens[place] = match_case(article, "an" if article.lower() == "a" else "a")
    return True


def swap_words(draft: Draft, index: int) -> bool:
    """Write two words in the other order."""
    tokens = draft.tokens
    if index + 2 >= len(tokens) or tokens[index + 1] != " " or not tokens[index + 2][:1].isalpha():
        return False
    if tokens[index].lower() == tokens[index + 2].lower():
        return False
    tokens[index], tokens[index + 2] = tokens[index + 2], tokens[index]
    return True
