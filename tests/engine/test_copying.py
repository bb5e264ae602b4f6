"""A model that copies with errors mended: where it doubts, what it puts instead, and that its edits are judged as all others."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chunkers.records import BlockKind, Category, Chunk, hash_id
from chunkers.tokens import Tokenizer
from engine.adapters import adapter_path, add_adapter
from engine.budget import Budget, Spending
from engine.calls import CallStore, row_key
from engine.copying import MAX_READ_TOKENS, CopyForm, Doubt, categorize, find_copy_form, find_doubts, read_mend
from engine.feed import Feed
from engine.folders import ModelError
from engine.models import PROOFREADER, Model, resolve_model
from engine.reading import Reading
from engine.records import Alternatives, Completion, Outcome, Request, Sampling, fail
from engine.score import JUDGE_TEMPLATE, MAX_READINGS, MEND_TEMPLATE, READ_TEMPLATE, ReadAhead, ScoreJob
from engine.scripted import ScriptedEngine, hashed_scores
from engine.weights import list_tensors, write_tensors
from tests.tiny import write_tiny

FORM = CopyForm(start=1, end=2)


@pytest.fixture(scope="session")
def tokenizer(model: Model) -> Tokenizer:
    return Tokenizer(model.tokenizer_path)


def make_chunk(text: str, *, start: int = 100, context_before: str = "", context_after: str = "") -> Chunk:
    start += len(context_before)
    return Chunk(
        chunk_id=hash_id("d", start, start + len(text)),
        doc_id="d",
        chunk_index=0,
        start=start,
        end=start + len(text),
        text=text,
        context_before=context_before,
        context_after=context_after,
        block_kind=BlockKind.PARAGRAPH,
        num_tokens=1,
    )


def read(tokenizer: Tokenizer, chunk: Chunk) -> Reading:
    text = chunk.context_before + chunk.text + chunk.context_after
    tokens = tokenizer.encode_with_offsets(text)
    starts = [start for start, _ in tokens.offsets]
    return Reading(chunk, (), chunk.start - len(chunk.context_before), text, tokens.ids, starts, frame=FORM.frame(tokens.ids))


def mend(tokenizer: Tokenizer, before: str, after: str, *, words: str | None = None, is_at_end: bool = True) -> tuple[str, str] | None:
    """What is put for what, where the model goes on with the words of `after` from the first token on that differs."""
    reading = read(tokenizer, make_chunk(before))
    wanted = tokenizer.encode_with_offsets(after).ids
    index = next((i for i, (left, right) in enumerate(zip(reading.token_ids, wanted, strict=False)) if left != right), len(wanted) - 1)
    while index and reading.starts[index] == reading.starts[index - 1]:
        index -= 1
    rest = tokenizer.decode(wanted[index:]) if words is None else words
    found = read_mend(reading, Doubt(index, ()), rest, is_at_end=is_at_end)
    if found is None:
        return None
    assert before[found.start - 100 : found.end - 100] == found.original
    assert found.detector == "copy"
    assert before[: found.start - 100] + found.replacement + before[found.end - 100 :] == after
    return found.original, found.replacement


@pytest.mark.parametrize(
    ("before", "after", "edit"),
    [
        ("It has the benifit of being short.", "It has the benefit of being short.", ("benifit", "benefit")),
        ("He went to to the house by the sea.", "He went to the house by the sea.", (" to", "")),
        ("He went to house by the sea.", "He went to the house by the sea.", ("", " the")),
        ("He said “no‘ and then he left us.", "He said “no” and then he left us.", ("‘", "”")),
        ("She was gone.. Nobody saw her again.", "She was gone. Nobody saw her again.", (".", "")),
        ("We knew that they was late again.", "We knew that they were late again.", ("was", "were")),
        ("They wave us thier bread", "They gave us their bread", None),
        ("All went well untill now", "All went well until now", ("untill", "until")),
    ],
)
def test_edit_is_what_lies_between(tokenizer: Tokenizer, before: str, after: str, edit: tuple[str, str] | None) -> None:
    if edit is None:
        reading = read(tokenizer, make_chunk(before))
        found = read_mend(reading, Doubt(0, ()), after, is_at_end=True)
        assert found is not None, "two errors that are close together are one edit"
        assert (found.original, found.replacement) == ("wave us thier", "gave us their")
    else:
        made = mend(tokenizer, before, after)
        assert made is not None
        assert (made[0].strip(), made[1].strip()) == (edit[0].strip(), edit[1].strip())


@pytest.mark.parametrize(
    ("before", "after", "start", "edit"),
    [
        ("He went to to the house by the sea.", "He went to the house by the sea.", 8, ("to ", "")),
        ("It was that that he had seen that day.", "It was that he had seen that day.", 7, ("that ", "")),
        ("He had had it for a year or two now.", "He had it for a year or two now.", 3, ("had ", "")),
        ("He had a cold for a year or two now.", "He had had a cold for a year or two now.", 3, ("", "had ")),
        ("It was benifficial to all of them then.", "It was benificial to all of them then.", 7, ("benifficial", "benificial")),
        ("The 🍲 was hott,\nand the cafe\u0301 shut.", "The 🍲 was hot,\nand the cafe\u0301 shut.", 10, ("hott", "hot")),
        ("A word\u2060joiner and\ta tabb in it all.", "A word\u2060joiner and\ta tab in it all.", 20, ("tabb", "tab")),
    ],
)
def test_edit_stands_where_rules_put_it(tokenizer: Tokenizer, before: str, after: str, start: int, edit: tuple[str, str]) -> None:
    reading = read(tokenizer, make_chunk(before))
    wanted = tokenizer.encode_with_offsets(after).ids
    index = next(i for i, (left, right) in enumerate(zip(reading.token_ids, wanted, strict=False)) if left != right)
    found = read_mend(reading, Doubt(index, ()), tokenizer.decode(wanted[index:]), is_at_end=True)
    assert found is not None
    assert (found.start - 100, found.original, found.replacement) == (start, *edit)


def test_a_change_belongs_to_one_of_two_chunks(tokenizer: Tokenizer) -> None:
    text, cut = "It rained all day long. He wemt home to bed after that.", 24
    first = make_chunk(text[:cut], context_after=text[cut:])
    second = make_chunk(text[cut:], context_before=text[:cut])
    for after, owner, place, original in [
        ("It rained all day long. Then He wemt home to bed after that.", 0, cut, ""),
        ("It rained all day long. She wemt home to bed after that.", 1, cut, "He"),
        ("It rained all day long. And so wemt home to bed after that.", 1, cut, "He"),
        ("It rained all day longer. He wemt home to bed after that.", 0, cut - 6, "long"),
    ]:
        found = []
        for chunk in (first, second):
            reading = read(tokenizer, chunk)
            wanted = tokenizer.encode_with_offsets(after).ids
            index = next(i for i, (left, right) in enumerate(zip(reading.token_ids, wanted, strict=False)) if left != right)
            learn(reading, {index: [(wanted[index], -0.1)]})
            doubts = [doubt for doubt in find_doubts(reading, FORM) if doubt.token_ids == (wanted[index],)]
            words = tokenizer.decode(wanted[index:])
            found.append([mended for doubt in doubts if (mended := read_mend(reading, doubt, words, is_at_end=True))])
        assert not found[1 - owner], after
        (candidate,) = found[owner]
        assert (candidate.start - 100, candidate.original) == (place, original), after


@pytest.mark.parametrize(
    ("words", "is_at_end"),
    [
        ("something else entirely that never comes back to it", False),
        (" house by t", False),  # too little to know it again, and not the end
        ("\ufffd house by the sea and more", True),
        ("<|endoftext|> house by the sea.", True),  # a token that is no text
    ],
)
def test_words_that_do_not_come_back_are_no_edit(tokenizer: Tokenizer, words: str, is_at_end: bool) -> None:
    reading = read(tokenizer, make_chunk("He went to the house by the sea."))
    assert read_mend(reading, Doubt(3, ()), words, is_at_end=is_at_end) is None


def learn(reading: Reading, doubted: dict[int, list[tuple[int, float]]]) -> None:
    """Sure of all tokens but the doubted, with what it would rather have there."""
    request = Request(
        row_key="", doc_id="d", chunk_id="c", template="", template_version=1, token_ids=tuple(reading.token_ids), sampling=Sampling()
    )
    logprobs = tuple(-3.0 if index in doubted else -0.001 for index in range(len(reading.token_ids)))
    alternatives = tuple(
        Alternatives(
            token_ids=tuple(token for token, _ in doubted.get(index, [(own, -0.001)])),
            logprobs=tuple(logprob for _, logprob in doubted.get(index, [(own, -0.001)])),
        )
        for index, own in enumerate(reading.token_ids)
    )
    reading.learn(replace(fail(request, Outcome.OK, ""), logprobs=logprobs, alternatives=alternatives))


def test_doubts_are_of_the_chunk_and_one_a_word(tokenizer: Tokenizer) -> None:
    reading = read(tokenizer, make_chunk(" the benifit of it.", context_before="Here is", context_after=" And more."))
    own = {reading.text[start : start + 4]: index for index, start in enumerate(reading.starts)}
    ben = own[" ben"]
    learn(reading, {0: [(9, -0.1)], ben: [(7, -0.1)], ben + 1: [(8, -0.1)], len(reading.starts) - 1: [(9, -0.1)]})
    assert list(find_doubts(reading, FORM)) == [Doubt(ben, (7,))]


def test_a_second_way_is_asked_for_where_it_is_likely(tokenizer: Tokenizer) -> None:
    reading = read(tokenizer, make_chunk("He saw her."))
    learn(reading, {1: [(FORM.end, -0.5), (7, -0.9), (8, -1.5), (9, -1.6)]})
    assert list(find_doubts(reading, FORM)) == [Doubt(1, (7,)), Doubt(1, (8,))]
    learn(reading, {1: [(7, -0.1), (8, -2.5)]})
    assert list(find_doubts(reading, FORM)) == [Doubt(1, (7,))]


@pytest.mark.parametrize(
    ("original", "replacement", "category"),
    [
        ("benifit", "benefit", Category.SPELL),
        ("side", "sides", Category.AGREEMENT),
        ("wail", "wall", Category.WORD),
        ("", " the", Category.MISSING),
        (" to", "", Category.EXTRA),
        ("on with", "with", Category.EXTRA),
        (",", ".", Category.PUNCT),
        ("", ",", Category.PUNCT),
        ("O‘Neil", "O’Neil", Category.QUOTE),
        ("ofthe", "of the", Category.SPACE),
        ("github", "GitHub", Category.CASE),
    ],
)
def test_category_follows_from_the_change(original: str, replacement: str, category: Category) -> None:
    assert categorize(original, replacement) is category


class Teacher:
    """A model that knows the right text: sure of it, in doubt where the given one leaves it."""

    def __init__(self, tokenizer: Tokenizer, pairs: dict[str, str], *, doubt: float = 5.0) -> None:
        self.tokenizer, self.pairs, self.doubt, self.asked = tokenizer, pairs, doubt, list[Request]()

    def answer(self, request: Request) -> Completion:
        self.asked.append(request)
        ids = list(request.token_ids)
        passage, copy = self._split(ids)
        wanted = self.tokenizer.encode_with_offsets(self.pairs[self.tokenizer.decode(passage)]).ids
        made = replace(fail(request, Outcome.OK, ""), error=None, finish_reason="stop")
        if request.template == MEND_TEMPLATE:
            said = self.tokenizer.decode(copy)
            return replace(made, text=self.tokenizer.decode(wanted).removeprefix(said))
        first = (request.sampling.score_from or 0) - len(passage) - 2
        own = copy[first:]
        logprobs = [-0.001] * len(own)
        alternatives = [Alternatives(token_ids=(token,), logprobs=(-0.001,)) for token in own]
        for index, token in enumerate(copy):
            if index >= len(wanted) or token != wanted[index]:
                if index >= first:
                    logprobs[index - first] = -self.doubt
                    alternatives[index - first] = Alternatives(token_ids=(wanted[index], token), logprobs=(-0.01, -self.doubt))
                break
        is_read = request.template == READ_TEMPLATE
        return replace(made, logprobs=tuple(logprobs), alternatives=tuple(alternatives) if is_read else ())

    @staticmethod
    def _split(ids: list[int]) -> tuple[list[int], list[int]]:
        assert ids[0] == FORM.start
        end = ids.index(FORM.end)
        return ids[1:end], ids[end + 1 :]


def run_job(tokenizer: Tokenizer, model: Model, teacher: Teacher, chunks: Sequence[Chunk], chance: random.Random | None = None) -> ScoreJob:
    """Answers in the order of the questions, or in one by chance."""

    def key_of(token_ids: Sequence[int], sampling: Sampling) -> str:
        return row_key(model, "scripted", token_ids, sampling)

    read_ahead, waiting = ReadAhead(), list[Request]()
    job = ScoreJob(chunks, (), tokenizer, key_of, lambda reading: (), FORM, read_ahead)

    def answer_one() -> None:
        request = waiting.pop(chance.randrange(len(waiting)) if chance else 0)
        job.receive(job.classify(teacher.answer(request)))

    for request in job.requests():
        if request is None:
            assert waiting, "the job would wait for ever"
            answer_one()
        else:
            waiting.append(request)
            if chance and chance.random() < 0.3:
                answer_one()
    while waiting:
        answer_one()
    assert read_ahead.num_open == 0
    return job


def test_what_the_model_would_change_is_judged(tokenizer: Tokenizer, model: Model) -> None:
    before, after = "It has the benifit of being short, he said to them.", "It has the benefit of being short, he said to them."
    other = "Nothing is wrong with this one at all."
    teacher = Teacher(tokenizer, {before: after, other: other})
    job = run_job(tokenizer, model, teacher, [make_chunk(before), make_chunk(other)])
    (score,) = job.scores
    assert (score.original, score.replacement, score.detector, score.category) == ("benifit", "benefit", "copy", "spell")
    assert score.gain == pytest.approx(5.0, abs=0.1)
    assert score.surprise == pytest.approx(5.0, abs=0.1)
    assert not job.failures
    assert [request.template for request in teacher.asked] == [READ_TEMPLATE, READ_TEMPLATE, MEND_TEMPLATE, JUDGE_TEMPLATE]


def test_a_slight_doubt_is_enough_to_judge(tokenizer: Tokenizer, model: Model) -> None:
    before, after = "It has the benifit of being short, he said to them.", "It has the benefit of being short, he said to them."
    for doubt, gain in ((0.3, 0.3), (1.0, 1.0)):
        (score,) = run_job(tokenizer, model, Teacher(tokenizer, {before: after}, doubt=doubt), [make_chunk(before)]).scores
        assert score.gain == pytest.approx(gain, abs=0.05)


def test_what_the_model_ends_is_the_end_and_what_is_cut_is_not(tokenizer: Tokenizer, model: Model) -> None:
    before, after = "All that he said to them was short and swete.", "All that he said to them was short and sweet."

    class Cut(Teacher):
        def answer(self, request: Request) -> Completion:
            made = super().answer(request)
            return replace(made, finish_reason="length") if request.template == MEND_TEMPLATE else made

    ended, cut = (run_job(tokenizer, model, kind(tokenizer, {before: after}), [make_chunk(before)]) for kind in (Teacher, Cut))
    assert [score.replacement for score in ended.scores] == ["sweet"]
    assert not cut.scores, "too few words stand after it to know the passage by"


def test_no_more_is_read_ahead_than_all_jobs_may(tokenizer: Tokenizer, model: Model) -> None:
    def key_of(token_ids: Sequence[int], sampling: Sampling) -> str:
        return row_key(model, "scripted", token_ids, sampling)

    chunks = [make_chunk(f"On day {number} it rained.", start=100 * number) for number in range(1, 3 * MAX_READINGS)]
    read_ahead = ReadAhead()
    sources = [ScoreJob(chunks, (), tokenizer, key_of, lambda reading: (), FORM, read_ahead).requests() for _ in range(3)]
    asked = []
    for source in sources:
        asked.append(0)
        while next(source) is not None:
            asked[-1] += 1
    assert asked == [MAX_READINGS, 1, 1], "the first takes what there is, each other one has a reading of its own"


def test_the_first_word_of_a_text_can_be_wrong(tokenizer: Tokenizer, model: Model) -> None:
    before, after = "Tha house by the sea was old and grey.", "The house by the sea was old and grey."
    job = run_job(tokenizer, model, Teacher(tokenizer, {before: after}), [make_chunk(before)])
    assert [(score.original, score.replacement) for score in job.scores] == [("Tha", "The")]
    assert job.scores[0].gain is not None


def test_long_passages_are_read_in_pieces(tokenizer: Tokenizer, model: Model) -> None:
    text = "He went to the house by the sea. " * (2 * MAX_READ_TOKENS // 9)

    class Agreeing(Teacher):
        def answer(self, request: Request) -> Completion:
            self.pairs = {self.tokenizer.decode(self._split(list(request.token_ids))[0]): ""}
            self.pairs = {passage: passage for passage in self.pairs}
            return super().answer(request)

    teacher = Agreeing(tokenizer, {})
    job = run_job(tokenizer, model, teacher, [make_chunk(text)])
    assert len(teacher.asked) > 1
    assert (job.num_read, job.num_further) == (1, len(teacher.asked) - 1)
    assert all(len(request.token_ids) <= 2 * MAX_READ_TOKENS + 2 for request in teacher.asked)
    assert not job.failures


def test_a_call_that_fails_is_reported_and_the_rest_goes_on(tokenizer: Tokenizer, model: Model) -> None:
    before, after = "It has the benifit of being short, he said to them.", "It has the benefit of being short, he said to them."

    class Failing(Teacher):
        def answer(self, request: Request) -> Completion:
            return fail(request, Outcome.ENGINE_ERROR, "as told") if request.template == MEND_TEMPLATE else super().answer(request)

    job = run_job(tokenizer, model, Failing(tokenizer, {before: after}), [make_chunk(before)])
    assert [failure.request.template for failure in job.failures] == [MEND_TEMPLATE]
    assert not job.scores


def test_words_that_were_cut_are_no_failure(tokenizer: Tokenizer, model: Model) -> None:
    before, after = "It has the benifit of being short, he said to them.", "It has the benefit of being short, he said to them."

    class Cut(Teacher):
        def answer(self, request: Request) -> Completion:
            made = super().answer(request)
            if request.template != MEND_TEMPLATE or made.text is None:
                return made
            return replace(made, outcome=Outcome.TRUNCATED, finish_reason="length", text=made.text[:30], error="cut")

    job = run_job(tokenizer, model, Cut(tokenizer, {before: after}), [make_chunk(before)])
    assert [score.replacement for score in job.scores] == ["benefit"]
    assert not job.failures


@pytest.mark.parametrize(
    ("before", "after", "start", "edit"),
    [
        (
            "He sat,\n\nand had the\nbenifit of a\nlong rest.",
            "He sat,\n\nand had the\nbenefit of a\nlong rest.",
            24,
            ("benifit", "benefit"),
        ),
        ("He sat on the\nthe chair, and slept.", "He sat on the chair, and slept.", 10, ("the\r\n", "")),
        ("He sat on the\nthe chair, and slept.", "He sat on the\nchair, and slept.", 15, ("the ", "")),
        ("He sat\n\nHe slept all day.", "He sat.\n\nHe slept all day.", 6, ("", ".")),
        ("He sat on cha-\nir and slept all day.", "He sat on\nchairs and slept all day.", 9, (" cha-\r\nir", "\r\nchairs")),
    ],
)
def test_lines_of_any_kind_are_shown_alike(
    tokenizer: Tokenizer, model: Model, before: str, after: str, start: int, edit: tuple[str, str]
) -> None:
    scores, asked = [], []
    for newline in ("\n", "\r\n"):
        teacher = Teacher(tokenizer, {before: after})
        job = run_job(tokenizer, model, teacher, [make_chunk(before.replace("\n", newline))])
        scores += job.scores
        asked.append([(request.template, request.token_ids, request.sampling) for request in teacher.asked])
    plain, returned = scores
    assert asked[0] == asked[1]
    assert (returned.start - 100, returned.original, returned.replacement) == (start, *edit)
    assert (plain.original, plain.replacement) == tuple(side.replace("\r", "") for side in edit)
    assert (returned.gain, returned.surprise) == (plain.gain, plain.surprise)
    assert before.replace("\n", "\r\n")[returned.start - 100 : returned.end - 100] == returned.original


def test_wrapped_paragraphs_are_read_as_one_line(tokenizer: Tokenizer, model: Model) -> None:
    line = "It was late in the evening when all of them went"
    before, after = f"{line} home to to\nthe house by the sea, and slept.", f"{line} home to\nthe house by the sea, and slept."
    verse = "The sun was low,\nthe day was long,\nand all the birds were still."
    for newline in ("\n", "\r\n"):
        shown = {side.replace("\n", " "): after.replace("\n", " ") for side in (before, after)}
        teacher = Teacher(tokenizer, shown | {verse: verse})
        job = run_job(tokenizer, model, teacher, [make_chunk(before.replace("\n", newline)), make_chunk(verse, start=900)])
        (score,) = job.scores
        source = before.replace("\n", newline)
        assert source[score.start - 100 : score.end - 100] == score.original
        made = source[: score.start - 100] + score.replacement + source[score.end - 100 :]
        assert made.split() == after.split()
    wrong = f"{line} hme\r\nto the house by the sea, and slept."
    mended = wrong.replace("hme\r\nto", "home to")
    (score,) = run_job(tokenizer, model, Teacher(tokenizer, {wrong.replace("\r\n", " "): mended}), [make_chunk(wrong)]).scores
    assert wrong[score.start - 100 : score.end - 100] == score.original == "hme"


def test_tables_do_not_depend_on_the_order_of_answers(tokenizer: Tokenizer, model: Model) -> None:
    pairs = {
        "It has the benifit of being short, he said to them.": "It has the benefit of being short, he said to them.",
        "He went to to the house, and they was glad of it.": "He went to the house, and they were glad of it.",
        "Nothing is wrong with this one at all.": "Nothing is wrong with this one at all.",
    }
    chunks = [make_chunk(text, start=100 * number) for number, text in enumerate([*pairs, *pairs], start=1)]
    found = []
    for seed in range(8):
        job = run_job(tokenizer, model, Teacher(tokenizer, pairs), chunks, random.Random(seed) if seed else None)
        assert not job.failures
        found.append(sorted(job.scores, key=lambda score: (score.start, score.end, score.replacement)))
    assert all(scores == found[0] for scores in found)
    starts = {score.original: [each.start for each in found[0] if each.original == score.original] for score in found[0]}
    assert starts == {"benifit": [111, 411], "to ": [208, 508]}, "equal passages have equal findings; what is doubted first is mended first"


@pytest.mark.parametrize("max_calls", [None, 40, 0])
def test_jobs_of_one_engine_end_whatever_they_share(tokenizer: Tokenizer, model: Model, workspace: Path, max_calls: int | None) -> None:
    def open_store() -> CallStore:
        return CallStore(str(workspace), model, worker="w")

    def key_of(token_ids: Sequence[int], sampling: Sampling) -> str:
        return row_key(model, "scripted", token_ids, sampling)

    read_ahead, spending = ReadAhead(), Spending(Budget(max_calls=max_calls))
    texts = [f"On day {number % 9} it rained." for number in range(MAX_READINGS + 4)]
    chunks = [make_chunk(text, start=100 * number) for number, text in enumerate(texts, start=1)]
    jobs = [ScoreJob(chunks, (), tokenizer, key_of, lambda reading: (), FORM, read_ahead) for _ in range(3)]
    engine = ScriptedEngine(score=lambda request: [score - 4 for score in hashed_scores(request)], batch=3)
    with Feed(open_store, lambda: engine, is_eager=False, spending=spending) as feed:
        for future in [feed.submit(job) for job in jobs]:
            future.result(20)
    assert read_ahead.num_open == 0
    for job in jobs:
        asked = [asked for asked in job.asked if asked.template == READ_TEMPLATE]
        assert len(asked) == job.num_read == len(chunks)
        assert {failure.outcome for failure in job.failures} <= {Outcome.SKIPPED_BUDGET}
    assert any(job.failures for job in jobs) == (max_calls is not None)


def test_the_proofreader_is_the_embedded_model_with_its_adapter(model: Model) -> None:
    proofreader = resolve_model(PROOFREADER)
    form = find_copy_form(proofreader.folder)
    assert form == FORM
    assert find_copy_form(model.folder) is None
    assert proofreader.weights_sha256 != model.weights_sha256
    before, after = ({tensor.name: tensor for tensor in list_tensors(each.folder)} for each in (model, proofreader))
    assert before.keys() == after.keys()
    name = "model.layers.3.mlp.down_proj.weight"
    old, new = (each[name].widen(slice(None)) for each in (before, after))
    assert 0.02 < np.linalg.norm(new - old) / np.linalg.norm(old) < 0.5
    name = "model.embed_tokens.weight"
    assert np.array_equal(before[name].map()[:100], after[name].map()[:100])


def test_adapter_is_added_once(tmp_path: Path) -> None:
    folder, path = write_tiny(tmp_path / "model"), tmp_path / "small.safetensors"
    layer, rng = "model.layers.0.mlp.gate_proj", np.random.default_rng(1)
    (before,) = [tensor.widen(slice(None)) for tensor in list_tensors(folder) if tensor.name == f"{layer}.weight"]
    low, high = (rng.integers(-127, 128, shape, dtype=np.int8) for shape in ((2, 8), (16, 2)))
    low_scale, high_scale = (rng.random(rows, dtype=np.float32) / 100 for rows in (2, 16))
    parts = {"a": ("I8", low), "a_scale": ("F32", low_scale), "b": ("I8", high), "b_scale": ("F32", high_scale)}
    write_tensors(path, {f"{layer}.{name}": part for name, part in parts.items()})
    path.with_suffix(".json").write_text('{"name": "small", "copies": {"start": 5, "end": 6}}')
    add_adapter(path, folder)
    (after,) = [tensor.widen(slice(None)) for tensor in list_tensors(folder) if tensor.name == f"{layer}.weight"]
    wanted = before + (high * high_scale[:, None]) @ (low * low_scale[:, None])
    assert np.allclose(after, wanted, rtol=2**-8)
    assert find_copy_form(folder) == CopyForm(start=5, end=6)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="belongs to the model that it was made of"):
        add_adapter(adapter_path("proofreader"), write_tiny(tmp_path))
    with pytest.raises(ModelError, match="no adapter that comes with galley; there is proofreader"):
        adapter_path("../proofreader")
