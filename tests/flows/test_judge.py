"""A shard through the edits protocol, feed and call store: what a model says is anchored, salvaged, rejected or a failure, never gone."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from chunkers.records import CHUNKS, BlockKind, Chunk, hash_id
from chunkers.shards import read_shard, write_shard
from engine.ledger import Prices
from engine.models import Model
from engine.protocol import Engine
from engine.records import Outcome, Request
from engine.scripted import ScriptedEngine
from flows.config import ModelConfig
from flows.engines import HostedModel, Limits
from flows.judge import MAX_ANSWER_TOKENS, Judged, ask_shard
from postprocess.records import Answered, Edit, EditStatus

TEXT = "He go home. The keeper counted tho letters. Nobody answered him, and it rained. She were late again."
NOTHING = '{"edits": []}'


def say(*changes: tuple[str, str], why: str = "") -> str:
    return json.dumps(
        {"edits": [{"quote": quote, "replacement": new, "category": "word", "why": why} for quote, new in changes]}, ensure_ascii=False
    )


GO, THO = say(("He go", "He goes")), say(("tho letters", "the letters"))
Answer = Callable[[str, int], str]


@dataclass
class ScriptedModel(HostedModel):
    """Hosts the scripted engine in this process; its answers are a function of passage and attempt."""

    answer: Answer = lambda passage, attempt: NOTHING
    computed: list[Request] = field(default_factory=list)

    def _load_engine(self) -> AbstractContextManager[Engine]:
        def answer(request: Request) -> str:
            self.computed.append(request)
            passage = self.tokenizer.decode(request.token_ids).partition("Passage:\n")[2].partition("<|im_end|>")[0]
            return self.answer(passage, request.attempt)

        return ScriptedEngine(answer, max_model_len=self.max_model_len)


def make_chunk(text: str, start: int = 0) -> Chunk:
    return Chunk(
        chunk_id=hash_id("d", start, start + len(text)),
        doc_id="d",
        chunk_index=0,
        start=start,
        end=start + len(text),
        text=text,
        context_before="",
        context_after="",
        block_kind=BlockKind.PARAGRAPH,
        num_tokens=30,
    )


@dataclass
class Result:
    """What one shard came to."""

    judged: Judged
    edits: list[Edit]
    computed: list[Request]

    @property
    def places(self) -> list[tuple[int | None, str, str, str | None]]:
        return [(edit.start, edit.original, edit.replacement, edit.reason) for edit in self.edits]

    @property
    def outcomes(self) -> list[str]:
        return [failure.outcome.value for failure in self.judged.failures]


Ask = Callable[..., Result]


@pytest.fixture
def ask(model: Model, workspace: Path, tmp_path: Path) -> Iterator[Ask]:
    """Runs the edits protocol over chunks of TEXT in one workspace; a later run finds what an earlier one computed."""
    hosts: list[ScriptedModel] = []

    def run(answer: Answer, *chunks: Chunk, protocol: Literal["edits", "rewrite"] = "edits") -> Result:
        config = ModelConfig(source="scripted", protocol=protocol)
        hosts.append(
            ScriptedModel(
                name="m", config=config, workspace=workspace, model=model, prices=Prices(), is_fresh=False, limits=Limits(), answer=answer
            )
        )
        shard, target = tmp_path / "shard-00000.parquet", tmp_path / "answers.parquet"
        write_shard(str(shard), CHUNKS, chunks or [make_chunk(TEXT)])
        judged = ask_shard(shard, target, hosts[-1], None)
        hosts[-1].close()
        return Result(judged, list(read_shard(str(target), Edit)), hosts[-1].computed)

    yield run
    for hosted in hosts:
        hosted.close()


def test_edits_of_a_good_answer_are_anchored_and_rejected_ones_stay(ask: Ask) -> None:
    result = ask(lambda passage, attempt: "<think>Hm.</think>" + say(("He go", "He goes"), ("nowhere", "x")))
    assert result.places == [(3, "go", "goes", None), (None, "nowhere", "x", "quote_not_found")]
    assert [(asked.outcome, asked.is_final) for asked in result.judged.asked] == [(Outcome.OK, True)]
    assert not result.judged.failures


def test_corrected_answer_takes_the_place_of_the_bad_one(ask: Ask) -> None:
    result = ask(lambda passage, attempt: say(("nowhere", "x")) if attempt == 1 else GO)
    assert result.places == [(3, "go", "goes", None)]
    assert [(asked.attempt, asked.outcome, asked.is_final) for asked in result.judged.asked] == [
        (1, Outcome.INVALID_SEMANTIC, False),
        (2, Outcome.OK, True),
    ]
    assert result.edits[0].row_key == result.judged.asked[1].row_key
    assert not result.judged.failures


def test_shard_that_comes_from_another_worker_finds_what_that_one_has_stored(model: Model, workspace: Path, tmp_path: Path) -> None:
    config = ModelConfig(source="scripted", protocol="edits")
    settings = {"name": "m", "config": config, "workspace": workspace, "model": model, "prices": Prices(), "is_fresh": False}
    first, second = (ScriptedModel(**settings, limits=Limits()) for _ in range(2))
    shards = [tmp_path / f"shard-{index:05}.parquet" for index in range(2)]
    for shard, text in zip(shards, (TEXT, "The lamp was lit."), strict=True):
        write_shard(str(shard), CHUNKS, [make_chunk(text)])
    try:
        ask_shard(shards[0], tmp_path / "answers-0.parquet", first, None)  # its store is open from now on
        ask_shard(shards[1], tmp_path / "answers-1.parquet", second, None)
        second.close()  # as a worker that leaves
        assert len(second.computed) == 1
        ask_shard(shards[1], tmp_path / "answers-1.parquet", first, None)
        assert len(first.computed) == 1, "the first shard's; what the other worker has answered is not asked again"
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("answer", "outcome", "place"),
    [
        ("He goes home.", "invalid_schema", (None, "He goes home.", "", "answer_not_json")),
        ('{"edits": 3}', "invalid_schema", (None, '{"edits": 3}', "", "answer_not_schema")),
        (say(("nowhere", "x")), "invalid_semantic", (None, "nowhere", "x", "quote_not_found")),
        ("<think>On and on", "invalid_schema", (None, "<think>On and on", "", "answer_not_json")),
        ("I cannot assist with that.", "refused", (None, "I cannot assist with that.", "", "answer_not_json")),
    ],
)
def test_answer_that_stays_bad_is_a_failure_and_a_rejected_row(ask: Ask, answer: str, outcome: str, place: tuple[object, ...]) -> None:
    result = ask(lambda passage, attempt: answer)
    assert result.outcomes == [outcome]
    assert result.places == [place]
    assert result.edits[0].status is EditStatus.REJECTED
    assert result.edits[0].row_key == result.judged.failures[0].request.row_key


LONG = "w" * (8 * MAX_ANSWER_TOKENS)


def test_cut_answer_is_salvaged_and_its_halves_are_asked(ask: Ask) -> None:
    cut = GO[: -len("]}")] + ', {"quote": "' + LONG
    assert len(cut) > 2 * 4 * MAX_ANSWER_TOKENS, "over twice the limit at four characters a token"

    def answer(passage: str, attempt: int) -> str:
        if passage == TEXT:
            return cut
        return THO if "tho" in passage else NOTHING

    result = ask(answer)
    assert result.places == [(3, "go", "goes", None), (TEXT.index("tho"), "tho", "the", None)]
    assert not result.judged.failures
    assert [
        (asked.attempt, asked.outcome.value, asked.is_final) for asked in sorted(result.judged.asked, key=lambda asked: asked.is_final)
    ] == [
        (1, "truncated", False),
        (2, "truncated", False),
        (1, "ok", True),
        (1, "ok", True),
    ]


def test_same_edit_of_a_half_takes_the_place_of_the_salvaged_one(ask: Ask) -> None:
    cut = GO[: -len("]}")] + ', {"quote": "' + LONG
    result = ask(lambda passage, attempt: cut if passage == TEXT else GO if "He go" in passage else NOTHING)
    (edit,) = result.edits
    (key,) = {asked.row_key for asked in result.judged.asked if asked.is_final and asked.chunk_id == make_chunk(TEXT[:44]).chunk_id}
    assert edit.row_key == key


def test_cut_answer_about_one_sentence_is_salvaged_too(ask: Ask) -> None:
    cut = GO[: -len("]}")] + ', {"quote": "' + LONG
    result = ask(lambda passage, attempt: cut, make_chunk("He go home."))
    assert result.outcomes == ["truncated"]
    assert result.places == [(3, "go", "goes", None)]


def test_same_command_again_computes_nothing_but_what_ended_badly(ask: Ask) -> None:
    chunks = make_chunk(TEXT), make_chunk("It rained all day.", start=len(TEXT))

    def answer(passage: str, attempt: int) -> str:
        if passage == TEXT:
            return LONG
        return "no" if "Nobody" in passage or (passage.startswith("He go") and attempt == 1) else NOTHING

    first, again = ask(answer, *chunks), ask(answer, *chunks)
    assert first.outcomes == ["invalid_schema"]
    failed = first.judged.failures[0].request
    assert failed.attempt == 2
    assert [request.row_key for request in again.computed] == [failed.row_key]
    assert (again.places, again.judged.asked) == (first.places, first.judged.asked)
    mended = ask(lambda passage, attempt: NOTHING, *chunks)
    assert len(mended.computed) == 1
    assert not mended.judged.failures


MENDED = TEXT.replace("go", "goes").replace("tho", "the").replace("She were", "She was")
MENDS = [(3, "go", "goes", None), (TEXT.index("tho"), "tho", "the", None), (TEXT.index("were late"), "were", "was", None)]


def test_rewritten_passage_becomes_edits(ask: Ask) -> None:
    result = ask(lambda passage, attempt: f"<think>Hm.</think>Here is the corrected text:\n\n{MENDED}", protocol="rewrite")
    assert result.places == MENDS
    assert {edit.proposer for edit in result.edits} == {"m/rewrite"}
    (request,) = result.computed
    assert (request.template, request.sampling.json_schema) == ("rewrite", None)
    assert result.judged.answered == [Answered(doc_id="d", start=0, end=len(TEXT))]


def test_rewritten_answer_that_says_too_much_is_corrected(ask: Ask) -> None:
    tale = "A keeper who had no friends was sad one evening, when it rained and nobody came to see the letters that he had counted."
    result = ask(lambda passage, attempt: tale if attempt == 1 else MENDED, protocol="rewrite")
    assert result.places == MENDS
    assert [asked.outcome for asked in result.judged.asked] == [Outcome.INVALID_SEMANTIC, Outcome.OK]
    failed = ask(lambda passage, attempt: tale, make_chunk(TEXT + " "), protocol="rewrite")
    assert failed.outcomes == ["invalid_semantic"]
    assert failed.places == [(None, tale, "", "answer_rewritten")]
    assert "answer again with" in failed.edits[0].message
    assert failed.judged.answered == []


def test_refusal_is_no_rewritten_passage_and_a_passage_that_refuses_is_no_refusal(ask: Ask) -> None:
    refused = ask(lambda passage, attempt: "I cannot assist with that.", make_chunk("He go."), protocol="rewrite")
    assert refused.outcomes == ["refused"]
    assert refused.places == [(None, "I cannot assist with that.", "", "answer_refused")]
    said = "I cannot help you with that, said the keeper, and he go home."
    result = ask(lambda passage, attempt: passage.replace("go", "goes"), make_chunk(said), protocol="rewrite")
    assert result.places == [(said.index("go home"), "go", "goes", None)]


def test_cut_rewrite_is_kept_as_far_as_it_goes_and_its_halves_are_asked(ask: Ask) -> None:
    def answer(passage: str, attempt: int) -> str:
        return (
            MENDED[:60] + "w" * (16 * MAX_ANSWER_TOKENS)
            if passage == TEXT
            else passage.replace("tho", "the").replace("She were", "She was")
        )

    result = ask(answer, protocol="rewrite")
    assert {(1, "truncated"), (2, "truncated"), (1, "ok")} == {(asked.attempt, asked.outcome.value) for asked in result.judged.asked}
    assert [place for place in result.places if place[0] is not None][-2:] == MENDS[1:]
    assert len(result.judged.answered) == 2


def test_passages_that_were_answered_are_told(ask: Ask) -> None:
    chunks = make_chunk(TEXT), make_chunk("It rained all day.", start=len(TEXT))
    result = ask(lambda passage, attempt: NOTHING if "rained all" in passage else "no", *chunks)
    assert result.judged.answered == [Answered(doc_id="d", start=len(TEXT), end=len(TEXT) + 18)]
