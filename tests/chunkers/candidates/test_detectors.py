"""What each detector finds and leaves: the text with its error, the text that some candidate must make of it, or that none may."""

import pytest
from harper import Dialect

from chunkers.candidates import find_candidates, guess_dialect
from chunkers.readers import parse_document
from tests.chunkers.candidates.documents import make_document


def list_results(text: str, detector: str) -> set[str]:
    return {
        text[: candidate.start] + candidate.replacement + text[candidate.end :]
        for candidate in find_candidates(make_document(text))
        if candidate.detector.startswith(detector)
    }


FOUND = [
    ("harper", "We definately agree on that.", "We definitely agree on that."),
    ("spelling", "The error messsages are clear.", "The error messages are clear."),
    (
        "own_words:spelling",
        "Old Mr. Turveydrop sat. " * 4 + "Old Mr. Thurveydrop sat.",
        "Old Mr. Turveydrop sat. " * 4 + "Old Mr. Turveydrop sat.",
    ),
    (
        "own_words:capitals",
        "We push to GitHub now. " * 6 + "We push to Github now.",
        "We push to GitHub now. " * 6 + "We push to GitHub now.",
    ),
    ("doubled_words", "He went to the the house.", "He went to the house."),
    ("doubled_words", "He went to the\nthe house.", "He went to the house."),
    ("doubled_speech", "He had had enough of it.", "He had enough of it."),
    ("doubled_phrase", "It has the same the same type.", "It has the same type."),
    ("confusion:agreement", "The node do not provide it.", "The node does not provide it."),
    ("article", "This is a elephant.", "This is an elephant."),
    ("article", "Call it on an new line.", "Call it on a new line."),
    ("article", "It returns a `if` expression.", "It returns an `if` expression."),
    (
        "confusion:homophone",
        "They went over there to loose the game and lose the prize.",
        "They went over there to lose the game and lose the prize.",
    ),
    ("confusion", "Each part keeps it's own name.", "Each part keeps its own name."),
    ("confusion:scanno", "It was the modem world.", "It was the modern world."),
    ("confusion:number", "There are two version of it.", "There are two versions of it."),
    ("confusion:number", "The method return the value.", "The method returns the value."),
    ("confusion:tense", "It was define by the user.", "It was defined by the user."),
    ("confusion:scanno", "He leaned against the stone wail of the house.", "He leaned against the stone wall of the house."),
    ("small_words:missing", "In order make it work, wait.", "In order to make it work, wait."),
    ("small_words:extra", "It is one of the of most useful tools.", "It is one of the most useful tools."),
    ("spacing:cut_word", "Behold t he mill.", "Behold the mill."),
    ("spacing:cut_word", "I didn t understand.", "I didn't understand."),
    ("spacing:run_together", "It was influencedby others.", "It was influenced by others."),
    ("spacing:before_mark", "Is it an error ?", "Is it an error?"),
    ("spacing:after_mark", "His character,and the rest.", "His character, and the rest."),
    ("spacing:double", "He said  that it was late.", "He said that it was late."),
    ("punctuation:doubled", "So home,, and to bed.", "So home, and to bed."),
    (
        "punctuation:end",
        "It was late. He went home and did not come back that day",
        "It was late. He went home and did not come back that day.",
    ),
    ("punctuation:before_quote", "“It is late” He went home.", "“It is late.” He went home."),
    ("punctuation:sentence", "He said no word about me There was a frost.", "He said no word about me. There was a frost."),
    ("punctuation:opener", "However this is late.", "However, this is late."),
    ("punctuation:question", "“What is the matter.” he said.", "“What is the matter?” he said."),
    ("punctuation:dash", "He went home—so they say, and two fellows-they came.", "He went home—so they say, and two fellows—they came."),
    ("punctuation:wrong_mark", "By default. the value is null.", "By default, the value is null."),
    ("quotes:elision", "“What ‘ud I do that for?” he said.", "“What ’ud I do that for?” he said."),
    ("quotes:elision", "It was Peter O‘Dactyl.", "It was Peter O’Dactyl."),
    ("quotes:unclosed", "“You surprise me.\n\n“And not so little.”", "“You surprise me.”\n\n“And not so little.”"),
    ("quotes:stray", "It was a fine tenor.”\n\n“Yes.”", "It was a fine tenor.\n\n“Yes.”"),
    ("quotes:unopened", "Yes: that is it.” He left.", "“Yes: that is it.” He left."),
    ("capitals:sentence", "It was late. he went home.", "It was late. He went home."),
    ("capitals:pronoun", "He and i went home.", "He and I went home."),
    ("capitals:inside", "If you ask up front, You should try.", "If you ask up front, you should try."),
]

LEFT = [
    ("capitals", "“Beyond a doubt they do,” replied Jane;\r\n“but my aunt knows better.”"),
    ("doubled_words", "The Duran Duran record."),
    ("doubled_words", "It was the, the very thing."),
    ("article", "An hour later a user sent a European an SPA and an `if`."),
    ("article", "An unbending umbrella of an unusual unit, an unsafe block, a unique use."),
    ("doubled_phrase", "We talk and talk and talk. By and by and by."),
    ("spacing:cut_word", "See Appendix D for `usize`s in the text, flip the s value."),
    ("article", "It was a one-off in a unit of a ewe."),
    ("harper:SpellCheck", "Then Pribyloff came home with Zhivkov and Zhivkov."),
    ("spelling", "The mamluk met a mamluk and the mamluk."),
    ("confusion", "`form` the `their`"),
    ("spacing", "It was one… or two ... of them."),
    ("spacing:double", "It was late.  He went home."),
    ("punctuation:doubled", "It was late... He went home…"),
    ("punctuation:end", "# A heading without a mark"),
    ("quotes", "“Yes,” he said. “It’s ‘fine’, isn’t it?”"),
    ("capitals:sentence", "Mr. and Mrs. etc. and so on."),
]


@pytest.mark.parametrize(("detector", "text", "expected"), FOUND)
def test_finds(detector: str, text: str, expected: str) -> None:
    assert expected in list_results(text, detector)


@pytest.mark.parametrize(("detector", "text"), LEFT)
def test_leaves(detector: str, text: str) -> None:
    assert list_results(text, detector) == set()


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("The colour of the theatre was grey.", Dialect.BRITISH),
        ("The color of the theater was gray.", Dialect.AMERICAN),
        ("Nothing says where this is from.", Dialect.AMERICAN),
        ("", Dialect.AMERICAN),
    ],
)
def test_guesses_dialect(text: str, dialect: Dialect) -> None:
    assert guess_dialect(text) is dialect


def test_british_spelling_is_right_in_a_british_book() -> None:
    text = "The colour of the harbour was grey. His neighbour had a favourite humour."
    assert list_results(text, "harper:SpellCheck") == set()


def test_case_and_apostrophe_follow_the_text() -> None:
    assert "ITS OWN NAME, said Tom’s friend." in list_results("IT’S OWN NAME, said Tom’s friend.", "confusion")
    assert "Don’t go." not in list_results("Dont go.", "harper")


def test_indentation_is_no_error_of_spacing() -> None:
    text = "It was late.\r\n\r\n                          * * * * *\r\n\r\nHe  went home."
    document = parse_document(text.encode(), "book.txt")
    spaces = {candidate.start for candidate in find_candidates(document) if candidate.original.isspace()}
    assert spaces <= {text.index("  went")}
