"""How often a detector's candidates are right, before any model has looked."""

PRIOR = {
    "quotes:elision": 0.900,  # 8 of 8
    "harper:The": 0.800,  # 3 of 3
    "doubled_phrase": 0.667,  # 1 of 1
    "harper:Itself": 0.667,  # 1 of 1
    "missing:to": 0.667,  # 1 of 1
    "punctuation:around_quote": 0.667,  # 1 of 1
    "punctuation:dash": 0.667,  # 5 of 7
    "spacing:before_mark": 0.667,  # 5 of 7
    "doubled_words": 0.652,  # 14 of 21
    "harper:Spaces": 0.600,  # 5 of 8
    "spacing:after_mark": 0.600,  # 2 of 3
    "spacing:cut_word": 0.522,  # 11 of 21
    "capitals:pronoun": 0.500,  # 1 of 2
    "grammar:after_code": 0.500,  # 1 of 2
    "harper:CommaFixes": 0.500,  # 1 of 2
    "harper:ToLoseTooLoose": 0.500,  # 1 of 2
    "harper:ToTo": 0.500,  # 1 of 2
    "missing:the_owner": 0.429,  # 2 of 5
    "quotes:kind": 0.412,  # 13 of 32
    "grammar:after_modal": 0.400,  # 5 of 13
    "harper:SingleBe": 0.400,  # 1 of 3
    "missing:by": 0.400,  # 1 of 3
    "own_words:spelling": 0.385,  # 34 of 89
    "quotes:straight": 0.333,  # 1 of 4
    "quotes:unopened": 0.333,  # 1 of 4
    "variants:hyphen": 0.333,  # 0 of 1
    "harper:RepeatedWords": 0.316,  # 11 of 36
    "its": 0.316,  # 5 of 17
    "article": 0.311,  # 18 of 59
    "grammar:person": 0.308,  # 3 of 11
    "harper:MergeWords": 0.304,  # 6 of 21
    "harper:ItsPossessive": 0.300,  # 2 of 8
    "own_phrases": 0.273,  # 2 of 9
    "dialect": 0.250,  # 0 of 2
    "harper:AnA": 0.225,  # 15 of 69
    "harper:CapitalizePersonalPronouns": 0.222,  # 1 of 7
    "numbers:figure": 0.222,  # 1 of 7
    "punctuation:end": 0.212,  # 6 of 31
    "brackets": 0.200,  # 0 of 3
    "numbers:each": 0.200,  # 0 of 3
    "numbers:several": 0.174,  # 3 of 21
    "marks:quotes": 0.167,  # 0 of 4
    "missing:of": 0.167,  # 0 of 4
    "numbers:each_inside": 0.167,  # 2 of 16
    "missing:the": 0.152,  # 4 of 31
    "grammar:adverb": 0.150,  # 2 of 18
    "punctuation:before_quote": 0.143,  # 1 of 12
    "spacing:before_colon": 0.136,  # 5 of 42
    "article:and": 0.133,  # 1 of 13
    "harper:SimplePastToPastParticiple": 0.130,  # 2 of 21
    "misspelled:part": 0.120,  # 2 of 23
    "clash": 0.118,  # 5 of 49
    "capitals:sentence": 0.115,  # 2 of 24
    "clauses": 0.111,  # 1 of 16
    "grammar:relative": 0.111,  # 5 of 52
    "harper:MissingTo": 0.111,  # 1 of 16
    "numbers:possessive": 0.105,  # 1 of 17
    "doubled_speech": 0.103,  # 2 of 27
    "quotes:wrong_way": 0.100,  # 0 of 8
    "grammar:after_be": 0.094,  # 2 of 30
    "quotes:apostrophe": 0.091,  # 0 of 9
    "misspelled:name": 0.079,  # 4 of 61
    "misspelled:far": 0.077,  # 5 of 76
    "spelling": 0.072,  # 115 of 1600
    "grammar:subject": 0.067,  # 2 of 43
    "grammar:missing_be": 0.059,  # 0 of 15
    "punctuation:speech": 0.054,  # 2 of 54
    "harper:OrthographicConsistency": 0.043,  # 2 of 67
    "quotes:stray": 0.030,  # 5 of 198
    "punctuation:doubled": 0.027,  # 5 of 220
    "harper:SpellCheck": 0.024,  # 126 of 5194
    "grammar:after_to": 0.020,  # 0 of 47
    "small_words:extra_article": 0.017,  # 11 of 703
    "harper:SplitWords": 0.013,  # 6 of 524
    "quotes:unclosed": 0.012,  # 7 of 650
    "punctuation:question": 0.011,  # 2 of 276
    "own_names": 0.100,  # needs a whole book: 1 of 5 in the chapters of each book joined
    "marks:dash": 0.167,  # not met; as marks:quotes
    "marks:ellipsis": 0.167,  # not met; as marks:quotes
    "variants:accent": 0.100,  # not met
}
"""Share right by detector: (right + 1) / (met + 2). Counted by tests/bench/count_candidates.py over 162 proofread documents, 436,000 words;
right is what makes exactly the text that the proofreader made. Lists and limits were chosen on the same documents, so a new book may do
worse; errors that the proofreader left count as wrong, so it may do better. A lint with two suggestions counts twice."""

DEFAULT_PRIOR = 0.003
"""For detectors that `PRIOR` leaves out: 168 of 65,635."""

STANDS_ALONE = frozenset({"doubled_words", "harper:Spaces", "harper:The", "punctuation:dash", "quotes:elision", "spacing:before_mark"})
"""Detectors whose candidates are worth showing without a model: more right than wrong, by counts that are small."""
