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
    (
        "punctuation:end",
        "It was late.\n\n“There it is,” sighed the superintendent",
        "It was late.\n\n“There it is,” sighed the superintendent.",
    ),
    ("punctuation:around_quote", "See “Data Types,”, so wait.", "See “Data Types”, so wait."),
    ("article:and", "We said it over an over again.", "We said it over and over again."),
    ("its", "The check will go on performing it's duty.", "The check will go on performing its duty."),
    ("its", "They infer that it's `T` is an integer.", "They infer that its `T` is an integer."),
    ("its", "There is no need for that. Its an old story.", "There is no need for that. It's an old story."),
    ("grammar:after_modal", "The answer must ensures that it ends.", "The answer must ensure that it ends."),
    ("grammar:after_modal", "The answer does not always contains it.", "The answer does not always contain it."),
    ("grammar:after_modal", "They cannot manipulation them.", "They cannot manipulate them."),
    ("grammar:after_to", "It is common for them to provides it.", "It is common for them to provide it."),
    ("grammar:missing_be", "It will defined by the user.", "It will be defined by the user."),
    ("grammar:after_be", "It was generate by the tool.", "It was generated by the tool."),
    ("grammar:person", "This is a mistake, since it remove some freedom.", "This is a mistake, since it removes some freedom."),
    ("grammar:relative", "Valid after a fork that change the id.", "Valid after a fork that changes the id."),
    ("grammar:relative", "We praise achievements that resembles ours.", "We praise achievements that resemble ours."),
    ("grammar:subject", "Enabling this feature remove the rule.", "Enabling this feature removes the rule."),
    ("grammar:after_code", "Here, the field `id` have seen it.", "Here, the field `id` has seen it."),
    ("grammar:adverb", "Everyone can reliable live on it.", "Everyone can reliably live on it."),
    ("numbers:several", "It is of use to multiple part of the program.", "It is of use to multiple parts of the program."),
    ("numbers:several", "It is one of the application of our time.", "It is one of the applications of our time."),
    ("numbers:each", "Read it into an inputs that is kept.", "Read it into an input that is kept."),
    ("numbers:each_inside", "You can declare a new variables with it.", "You can declare a new variable with it."),
    ("numbers:figure", "It takes 2 argument and no more.", "It takes 2 arguments and no more."),
    ("numbers:possessive", "He came for my cousins boy, it is said.", "He came for my cousin's boy, it is said."),
    ("clash", "To understand it, let’s we dive further.", "To understand it, let’s dive further."),
    ("clash", "It may stay forever in the this status.", "It may stay forever in this status."),
    ("missing:to", "The file does not change. In order trigger it, wait.", "The file does not change. In order to trigger it, wait."),
    ("missing:by", "Each has to be followed a dot.", "Each has to be followed by a dot."),
    ("missing:the", "You should rather use `attach` method with it.", "You should rather use the `attach` method with it."),
    ("missing:the_owner", "Return a number to specify command's exit code.", "Return a number to specify the command's exit code."),
    ("misspelled:part", "It is a zero-knownledge proof.", "It is a zero-knowledge proof."),
    ("misspelled:far", "It gave us a cohesive expirence of it.", "It gave us a cohesive experience of it."),
    ("misspelled:name", "See the part on Intstallation. Then try installation.", "See the part on Installation. Then try installation."),
    ("own_names", "We met Mr. Pickering. " * 6 + "We met Mr. Picketing.", "We met Mr. Pickering. " * 6 + "We met Mr. Pickering."),
    ("own_phrases", "Saw the Duke of York there. " * 4 + "Saw the Duke or York there. ", "Saw the Duke of York there. " * 5),
    (
        "variants:hyphen",
        "A top-level thing it is. " * 4 + "A toplevel thing it is.",
        "A top-level thing it is. " * 4 + "A top-level thing it is.",
    ),
    ("variants:accent", "It was Kutúzov then. " * 4 + "It was Kutuzov then.", "It was Kutúzov then. " * 4 + "It was Kutúzov then."),
    ("marks:dash", "He came—late—again. " * 15 + "He came -- late.", "He came—late—again. " * 15 + "He came—late."),
    ("marks:quotes", "“Yes,” he said, “no.” " * 10 + "It's late.", "“Yes,” he said, “no.” " * 10 + "It’s late."),
    ("marks:ellipsis", "So… he came… late… " * 10 + "So... he left.", "So… he came… late… " * 10 + "So… he left."),
    ("brackets", "It was late (about ten. He left.", "It was late about ten. He left."),
    ("brackets", "It was late (about ten. He left.", "It was late (about ten). He left."),
    (
        "clauses",
        "If it is late, you can go. " * 4 + "If it is early you can stay.",
        "If it is late, you can go. " * 4 + "If it is early, you can stay.",
    ),
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
    ("its", "It’s easier so that it’s done. Yes, it’s true. Its duty and its own end."),
    ("grammar", "Will rose and left. It makes it go away, and it must not do so. He did not see it."),
    ("grammar", "He asked that she come. What does it do? They let it run, and have it work."),
    ("grammar:after_code", "Here `a` and `b` have the same end."),
    ("numbers", "Two file uploads, a few weeks, six hundred and two, in the 2021 edition, and these two only."),
    ("numbers", "A user passes it on, and one reads on. The tests may pass."),
    ("clash", "Better to have it with her than of late. What it refers to is clear. I had had it."),
    ("missing", "In order to make it so, he was able to go. At the same end he was given a book."),
    ("missing:the", "See the `attach` method and `detach` methods. Nothing of that nature’s work."),
    ("misspelled", "A grandmotherly hand. The mamluk met a mamluk and the mamluk."),
    ("own_names", "We met Mr. Hall. " * 6 + "We met Dr. Ball. The ball was late."),
    ("own_phrases", "He sat in the boat. " * 5 + "He sat on the boat."),
    ("variants", "“Ve-ry!” It was very late and very cold, very very so. We re-cover what we recover. " * 4),
    ("variants", "A top-level thing. " * 4 + "A toplevel thing. " * 4),
    ("marks", "He came—late. He went -- early. " * 15),
    ("brackets", "First a) the one, then 2) the other (with more [and more]). Fine :)"),
    ("clauses", "If it is early you can stay. If it is late, you can go. " * 4),
    ("confusion:number", "He is an error. They can run to it, and it runs."),
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
