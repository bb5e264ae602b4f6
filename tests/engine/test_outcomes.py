"""What outcomes lead to, and what answers deserve: real phrases of refusal, and phrases of books that only look like them."""

import time
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.outcomes import (
    Action,
    SchemaError,
    SemanticError,
    asked_order,
    classify,
    find_json,
    is_refusal,
    next_action,
    record_asked,
    strip_reasoning,
)
from engine.records import Completion, Outcome, Request, Sampling

REQUEST = Request(
    row_key="k",
    doc_id="d",
    chunk_id="c",
    template="t",
    template_version=3,
    token_ids=(1, 2),
    sampling=Sampling(),
    sample_index=4,
    attempt=2,
)


def complete(text: str | None, outcome: Outcome = Outcome.OK) -> Completion:
    return Completion(
        request=REQUEST,
        outcome=outcome,
        finish_reason="stop",
        text=text,
        logprobs=(),
        alternatives=(),
        prompt_tokens=2,
        cached_tokens=0,
        completion_tokens=1,
        engine_seconds=0.5,
        error=None if outcome is Outcome.OK else "as told",
    )


ACTIONS = {
    Outcome.OK: "keep keep keep",
    Outcome.TRUNCATED: "longer split split",
    Outcome.INPUT_TOO_LONG: "split split split",
    Outcome.INVALID_SCHEMA: "correct give_up give_up",
    Outcome.INVALID_SEMANTIC: "correct give_up give_up",
    Outcome.REFUSED: "give_up give_up give_up",
    Outcome.ENGINE_ERROR: "again again give_up",
    Outcome.TIMEOUT: "again again give_up",
    Outcome.SKIPPED_BUDGET: "give_up give_up give_up",
}


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_leads_somewhere_and_to_an_end(outcome: Outcome) -> None:
    assert [next_action(outcome, attempt).value for attempt in (1, 2, 3)] == ACTIONS[outcome].split()
    assert next_action(outcome, 9) in (Action.KEEP, Action.SPLIT, Action.GIVE_UP), "no outcome has the same chunk asked about for ever"


REFUSALS = """
I'm sorry, but I can't assist with that request.
I’m sorry, but I can’t help with that.
I'm sorry, I can't assist with that.
I am sorry, but I cannot fulfill this request.
I'm sorry, but I cannot provide corrections for this passage.
Sorry, but I can't assist with that.
Sorry, I cannot help with that.
I'm very sorry, but I'm unable to provide the help that you need.
I'm really sorry you're feeling this way, but I'm unable to provide the help that you need.
I cannot assist with this request.
I can't help with that.
I can’t do that.
I cannot create explicit content. Is there anything else I can help you with?
I can't provide a response that contains hateful language.
I cannot fulfill your request. I am just an AI model, it's not within my programming or ethical guidelines.
I apologize, but I cannot fulfill your request as it goes against ethical and moral principles.
I apologize, but I don't feel comfortable proofreading this passage.
I apologize for any confusion, but as an AI language model I am unable to process this content.
My apologies, but I am not able to help with that.
I do not feel comfortable correcting a text with such content.
I'm not able to help with that request.
I am unable to assist with this content.
I won't be able to help with this passage.
I must decline this request.
I respectfully decline to proofread this.
As an AI language model, I cannot assist with that.
As an AI language model, I don't have the ability to proofread explicit text.
As an AI, I can't engage with this content.
As a large language model trained by Acme, I am unable to generate any content of that kind.
Unfortunately, I cannot assist with this request.
I'm sorry, but that's not something I can help with.
I’m sorry, but as an AI assistant, I cannot provide edits for that.
I'm afraid I can't do that.
Your request goes against my guidelines.
""".strip().splitlines()

NO_REFUSALS = [
    *"""
{"edits": []}
{"edits": [{"quote": "I'm sorry, but I can't help with that.", "replacement": "I am", "category": "word", "why": "tone"}]}
[{"quote": "I cannot assist with that."}]
I cannot find any mistakes in this passage.
I'm sorry, but I cannot see any errors here.
I could not find anything to correct.
I won't change anything: the passage is correct.
As an AI language model, I have read the passage and found no mistakes.
As an AI language model, I don't see any errors.
I'm sorry to say there are three mistakes in this passage.
“I'm sorry, but I can't help you,” said the keeper.
"I cannot assist with that," he said.
I cannot help thinking that he was wrong.
I can't help but wonder.
I cannot tell you how glad I was.
I am sorry that he left. Nobody came.
I apologize for the earlier mistake. {"edits": []}
I'm sorry for the error in my previous answer. Here it is again: {"edits": []}
Sorry, the corrected text is: He goes.
The passage has no mistakes. I cannot help with more.
I refused to leave.
""".strip().splitlines(),
    "",
    '```json\n{"edits": []}\n```',
]


@pytest.mark.parametrize("answer", REFUSALS)
@pytest.mark.parametrize("before", ["", "\n\n "])
def test_refusals_are_told(answer: str, before: str) -> None:
    assert is_refusal(before + answer)
    assert is_refusal(answer.upper())
    assert is_refusal(answer + "\n\n" + '{"edits": []}')


@pytest.mark.parametrize("answer", NO_REFUSALS)
def test_answers_are_not_taken_for_refusals(answer: str) -> None:
    assert not is_refusal(answer)


@pytest.mark.parametrize("phrase", ["I'm sorry, but as an AI, ", "sorry sorry, ", "as an ai language model ", "I'm sorry " + "a" * 60])
def test_long_excuses_take_no_time(phrase: str) -> None:
    started = time.perf_counter()
    is_refusal(phrase * 10_000)
    assert time.perf_counter() - started < 1.0, "a pattern with nested repeats took minutes for such answers"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"edits": []}', '{"edits": []}'),
        ('<think>\nHm. </thin\n</think>\n\n{"edits": []}', '{"edits": []}'),
        ('\n<think></think>{"edits": []}\n', '{"edits": []}\n'),
        ("<think>It goes on and on", ""),
        ("<think>a</think>", ""),
        ("<think>a</think>b</think>c", "b</think>c"),
        ('{"edits": [{"quote": "<think>no</think>"}]}', '{"edits": [{"quote": "<think>no</think>"}]}'),
        ("", ""),
    ],
)
def test_reasoning_is_no_part_of_the_answer(text: str, answer: str) -> None:
    assert strip_reasoning(text) == answer


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', '{"a": 1}'),
        (' {"a": {"b": 1}}\n', '{"a": {"b": 1}}'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('First {so}:\n```\nHe go.\n```\nThen:\n```JSON\r\n{"a": 1}\r\n```\nDone.', '{"a": 1}'),
        ('Sure: {"a": {"b": "}"}} and {"c": 2}', '{"a": {"b": "}"}}'),
        ('Of {these} I say {"a": [1, 2]}.', '{"a": [1, 2]}'),
        ('Cut: {"a": [{"b": 1}', 'Cut: {"a": [{"b": 1}'),
        ("none {} at all", "none {} at all"),
        ("He goes.", "He goes."),
    ],
)
def test_json_is_found_between_other_words(text: str, found: str) -> None:
    assert find_json(text) == found


@pytest.mark.parametrize("text", ["{" * 200_000, '{"a":' * 200_000, "```\n" * 200_000, '{"' * 200_000, "x{ " * 200_000])
def test_json_that_never_ends_takes_no_time(text: str) -> None:
    started = time.perf_counter()
    find_json(text)
    assert time.perf_counter() - started < 2.0


def test_a_passage_that_refuses_may_be_repeated() -> None:
    said = "I cannot help you with that, he said."
    completion = complete(said)
    assert classify(completion, lambda _: None).outcome is Outcome.REFUSED
    assert classify(completion, lambda _: None, passage=said).outcome is Outcome.OK
    assert classify(completion, lambda _: None, passage="He went home.").outcome is Outcome.REFUSED


def check(answer: str) -> None:
    if not answer.startswith("{"):
        raise SchemaError("no brace; an answer begins with one; answer again")
    if "nowhere" in answer:
        raise SemanticError("«nowhere» is not there; a quote is; quote again")


@pytest.mark.parametrize(
    ("text", "outcome", "error"),
    [
        ("{}", Outcome.OK, None),
        ("<think>I cannot assist with that.</think>{}", Outcome.OK, None),
        ("He goes.", Outcome.INVALID_SCHEMA, "no brace; an answer begins with one; answer again"),
        ("<think>{}", Outcome.INVALID_SCHEMA, "no brace; an answer begins with one; answer again"),
        ("{nowhere}", Outcome.INVALID_SEMANTIC, "«nowhere» is not there; a quote is; quote again"),
    ],
)
def test_answer_has_the_outcome_that_it_deserves(text: str, outcome: Outcome, error: str | None) -> None:
    assert classify(complete(text), check) == replace(complete(text), outcome=outcome, error=error)


@pytest.mark.parametrize("text", ["I cannot assist with that.", "<think>Hm.</think>\nI cannot assist with that."])
def test_refusal_is_an_outcome_of_its_own_and_is_quoted(text: str) -> None:
    refused = classify(complete(text), check)
    assert (refused.outcome, refused.text) == (Outcome.REFUSED, text)
    assert "«I cannot assist with that.»" in (refused.error or "")


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_what_failed_already_keeps_its_outcome(outcome: Outcome) -> None:
    failed = complete("I cannot assist with that.", outcome)
    assert classify(failed, check) is failed
    assert classify(complete(None), check).outcome is Outcome.OK, "a score is no text to be read"


def test_a_fault_of_the_check_is_not_the_answers() -> None:
    def broken(answer: str) -> None:
        raise KeyError(answer)

    with pytest.raises(KeyError):
        classify(complete("{}"), broken)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(1, 2), st.booleans()), min_size=2, max_size=4))
def test_order_of_questions_is_total(keys: list[tuple[str, str, int, bool]]) -> None:
    rows = [
        record_asked(replace(complete("{}"), request=replace(REQUEST, chunk_id=chunk_id, row_key=key, attempt=attempt)), is_final=is_final)
        for chunk_id, key, attempt, is_final in keys
    ]
    assert len({tuple(sorted(order, key=asked_order)) for order in permutations(rows)}) == 1


def test_question_says_what_was_asked() -> None:
    asked = record_asked(complete(None, Outcome.TIMEOUT), is_final=True)
    names = ("row_key", "doc_id", "chunk_id", "template", "template_version", "sample_index", "attempt")
    assert [getattr(asked, name) for name in names] == [getattr(REQUEST, name) for name in names]
    assert (asked.outcome, asked.is_final) == (Outcome.TIMEOUT, True)
