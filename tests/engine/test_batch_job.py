"""Batch files through the feed: every row ends once, nothing is asked twice, and what is drawn is drawn anew."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openai.types import Completion as OpenAICompletion
from openai.types.chat import ChatCompletion

from chunkers.tokens import Tokenizer
from engine.batch import BatchJob, RowRenderer, read_defaults
from engine.batch_file import BatchFile, BatchFileError
from engine.batch_lines import RowEnd, failure_of, write_line
from engine.calls import CallStore, row_key
from engine.feed import Feed
from engine.models import Model, ModelError
from engine.prompts import ChatRenderer
from engine.records import Outcome, Request, Sampling, fail
from engine.restart import KILLED_ENGINE
from engine.scripted import ScriptedEngine

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def chat(custom_id: str, content: str = "Hello", **body: Any) -> dict[str, Any]:
    whole = {"messages": [{"role": "user", "content": content}], "max_tokens": 20} | body
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": whole}


def completion(custom_id: str, prompt: object, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": {"prompt": prompt} | body}


def write(path: Path, rows: Iterable[dict[str, Any] | bytes]) -> Path:
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return path


@dataclass
class Ran:
    """What became of the rows of one file."""

    ends: dict[str | None, RowEnd] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    """What the engine computed."""
    reusable_tokens: int = 0

    def line(self, custom_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(write_line(self.ends[custom_id], model="m", now=NOW))
        return found

    def texts(self, custom_id: str) -> list[str]:
        return [choice["message"]["content"] for choice in self.line(custom_id)["response"]["body"]["choices"]]


class Lab:
    """Batch files answered in this process by the scripted engine, with one store."""

    def __init__(self, folder: Path, model: Model) -> None:
        self.folder, self.model, self.tokenizer = folder, model, Tokenizer(model.tokenizer_path)
        self.chat = ChatRenderer(model, self.tokenizer)
        self.max_model_len, self.defaults = 200, dict[str, Any]()

    @property
    def renderer(self) -> RowRenderer:
        return RowRenderer(tokenizer=self.tokenizer, load_chat=lambda: self.chat, max_model_len=self.max_model_len, defaults=self.defaults)

    def open(self, rows: Iterable[dict[str, Any] | bytes], **settings: Any) -> BatchFile:
        renderer = self.renderer
        return BatchFile(write(self.folder / "in.jsonl", rows), check=renderer.check, draw_of=renderer.draw_of, **settings)

    def run(self, rows: Iterable[dict[str, Any] | bytes], **settings: Any) -> Ran:
        ran = Ran()

        def answer(request: Request) -> str:
            ran.asked.append(request)
            text = self.tokenizer.decode(request.token_ids)
            said = text.rpartition("user\n")[2].partition("<|im_end|>")[0]
            return "x" * 1000 if "ENDLESS" in text else f"{said}/{request.sample_index}/{request.sampling.seed}"

        def key_of(token_ids: Sequence[int], sampling: Sampling, sample_index: int) -> str:
            return row_key(self.model, "scripted", token_ids, sampling, sample_index)

        def end(row: RowEnd) -> None:
            assert row.custom_id not in ran.ends, "every row ends once"
            ran.ends[row.custom_id] = row

        def reject(request: Request) -> str | None:
            return "told to" if "REFUSE" in self.tokenizer.decode(request.token_ids) else None

        job = BatchJob(self.open(rows), self.renderer, key_of, end, block_size=32, **settings)
        with Feed(
            lambda: CallStore(str(self.folder / "out"), self.model, worker="w"),
            lambda: ScriptedEngine(answer, reject=reject, max_model_len=self.max_model_len),
            is_eager=False,
        ) as feed:
            feed.submit(job).result(60)
        job.close()
        ran.reusable_tokens = feed.progress.reusable_tokens
        return ran


@pytest.fixture
def lab(tmp_path: Path, model: Model) -> Lab:
    return Lab(tmp_path, model)


def test_each_row_gets_its_own_answer_whatever_the_order(lab: Lab) -> None:
    rows = [chat(f"r{number}", f"question {number}", temperature=0) for number in range(23)]
    for settings in ({"window_rows": 5}, {"window_tokens": 1}):
        ran = lab.run(rows, **settings)
        assert {custom_id: ran.texts(str(custom_id)) for custom_id in ran.ends} == {
            f"r{number}": [f"question {number}/0/None"] for number in range(23)
        }


def test_rows_that_begin_alike_are_asked_together(lab: Lab) -> None:
    lab.max_model_len = 400
    shared = ["red " * 100, "green " * 100, "blue " * 100]
    rows = [chat(f"{number}", shared[number % 3] + str(number), temperature=0) for number in range(12)]
    ran = lab.run(rows)
    assert [int(request.chunk_id) % 3 for request in ran.asked] == [0] * 4 + [1] * 4 + [2] * 4
    assert ran.reusable_tokens >= 9 * 96


def test_the_same_again_computes_nothing(lab: Lab) -> None:
    rows = [chat("a", temperature=0), chat("b", "ENDLESS"), chat("c", n=2), completion("d", ["Once", [1, 2]]), chat("e", "x" * 9000)]
    assert len(lab.run(rows).asked) == 6
    again = lab.run(rows)
    assert again.asked == []
    assert len(again.ends) == 5


def test_a_cut_answer_is_an_answer_and_says_so(lab: Lab) -> None:
    ran = lab.run([chat("a", "ENDLESS", max_tokens=3)])
    (choice,) = ran.line("a")["response"]["body"]["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("length", "x" * 12)
    assert len(ran.asked) == 1, "it is not asked again with a higher limit"


def test_identical_rows_are_computed_once_where_the_answer_is_decided(lab: Lab) -> None:
    rows = [chat(f"greedy{number}", temperature=0, n=2) for number in range(3)]
    rows += [chat(f"seeded{number}", seed=5) for number in range(3)]
    ran = lab.run(rows)
    assert len(ran.asked) == 2
    assert ran.texts("greedy2") == ["Hello/0/None"] * 2
    assert ran.texts("seeded2") == ["Hello/0/5"]


def test_what_is_drawn_is_drawn_anew_for_each_row_and_sample(lab: Lab) -> None:
    ran = lab.run([chat("a", n=2), chat("b"), chat("other", "Bye"), chat("c", n=2, model="some")])
    assert [ran.texts(custom_id) for custom_id in "abc"] == [
        ["Hello/0/None", "Hello/1/None"],
        ["Hello/2/None"],
        ["Hello/3/None", "Hello/4/None"],
    ]
    assert ran.texts("other") == ["Bye/0/None"]


def test_samples_of_a_seeded_row_have_seeds_of_their_own(lab: Lab) -> None:
    assert lab.run([chat("a", n=3, seed=2**63 - 1)]).texts("a") == ["Hello/0/9223372036854775807"] + [
        f"Hello/{sample}/{-(2**63) + sample - 1}" for sample in (1, 2)
    ]


def test_limits_are_what_was_asked_or_what_fits(lab: Lab) -> None:
    rows = [chat("given"), chat("none", max_tokens=None), chat("high", max_tokens=5000), completion("prompt", "Once")]
    found = {request.chunk_id: (request.sampling.max_tokens, len(request.token_ids)) for request in lab.run(rows).asked}
    assert found["given"][0] == 20
    assert sum(found["none"]) == sum(found["high"]) == lab.max_model_len
    assert found["prompt"][0] == 16


def test_defaults_of_the_model_hold_where_the_row_says_nothing(lab: Lab, tmp_path: Path) -> None:
    settings = {"temperature": 1, "top_k": 50, "max_new_tokens": 9, "do_sample": True, "eos_token_id": 2}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    lab.defaults = read_defaults(tmp_path)
    rows = [chat("model", max_tokens=None), chat("row", temperature=0, top_k=-1)]
    sampling = {request.chunk_id: request.sampling for request in lab.run(rows).asked}
    assert sampling["model"] == Sampling(temperature=1.0, top_k=50, max_tokens=9)
    assert sampling["row"] == Sampling(temperature=0.0, top_k=0, max_tokens=20)
    assert read_defaults(tmp_path / "none") == {}
    (tmp_path / "generation_config.json").write_text('{"temperature": true, "top_k": Infinity, "top_p": 0.5}')
    assert read_defaults(tmp_path) == {"top_p": 0.5}


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_generation_config_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"generation_config\.json"):
        read_defaults(tmp_path)


def test_a_prompt_of_a_completion_is_read_as_its_author_wrote_it(lab: Lab) -> None:
    (request,) = lab.run([completion("a", "<|im_start|>user\nHi<|im_end|>\n")]).asked
    assert request.token_ids[0] == 1
    assert 2 in request.token_ids
    (request,) = lab.run([chat("a", "<|im_start|>user\nHi<|im_end|>\n")]).asked
    assert request.token_ids.count(1) == 3, "system, user and assistant: of a message nothing is an order"


def test_bodies_are_what_the_openai_client_reads(lab: Lab) -> None:
    ran = lab.run([chat("chat", n=2), completion("text", ["Once", "upon a time"], n=2, max_tokens=4)])
    body = ran.line("chat")["response"]["body"]
    read = ChatCompletion.model_validate(body, strict=True)
    assert (read.object, [choice.index for choice in read.choices]) == ("chat.completion", [0, 1])
    assert read.choices[1].message.content == "Hello/1/None"
    assert read.usage is not None
    assert read.usage.prompt_tokens == len(ran.asked[0].token_ids), "once, not for each sample"
    assert read.usage.completion_tokens == 2 * 3
    assert read.usage.total_tokens == read.usage.prompt_tokens + 6
    text = OpenAICompletion.model_validate(ran.line("text")["response"]["body"], strict=True)
    assert [choice.text for choice in text.choices] == ["Once/0/None", "Once/1/None", "upon a time/2/No", "upon a time/3/No"]
    assert text.usage is not None
    assert text.usage.prompt_tokens == sum(len(request.token_ids) for request in ran.asked[2::2])


def test_a_failed_row_says_why_in_both_places(lab: Lab) -> None:
    ran = lab.run([chat("refused", "REFUSE"), chat("long", "word " * 300), chat("fine", temperature=0)])
    refused, long = ran.line("refused"), ran.line("long")
    assert refused["response"]["status_code"] == 500
    assert refused["response"]["body"]["error"]["code"] == refused["error"]["code"] == "engine_error"
    assert refused["error"]["message"] == "told to"
    assert (long["response"]["status_code"], long["error"]["code"]) == (400, "input_too_long")
    assert "max_model_len=200" in long["error"]["message"]
    assert [request.chunk_id for request in ran.asked] == ["fine"]
    assert ran.line("fine")["error"] is None


def test_one_failed_sample_fails_its_row_alone(lab: Lab) -> None:
    ran = lab.run([completion("a", ["Once", "REFUSE"]), completion("b", "Once")])
    assert ran.ends["a"].failure is not None
    assert ran.ends["b"].failure is None


def test_a_stored_failure_is_asked_again_and_another_jobs_verdict_is_no_failure(lab: Lab) -> None:
    lab.run([chat("a", "REFUSE", temperature=0)])
    (lab.folder / "out").rename(lab.folder / "before")
    (request,) = lab.run([chat("a", temperature=0)]).asked
    with CallStore(str(lab.folder / "out"), lab.model, worker="w", is_fresh=True) as store:
        (answered,) = ScriptedEngine(lambda _: "no JSON").run([request])
        broken = type(answered)(**{name: getattr(answered, name) for name in answered.__slots__} | {"outcome": Outcome.INVALID_SCHEMA})
        assert broken.outcome is Outcome.INVALID_SCHEMA
        store.append(broken, engine_build="b", determinism="none")
    assert lab.run([chat("a", temperature=0)]).asked == []


def test_ids_do_not_depend_on_the_run(lab: Lab, tmp_path: Path) -> None:
    rows = [chat("a", temperature=0), chat("b", "Bye", temperature=0)]
    first = lab.run(rows)
    (lab.folder / "out").rename(lab.folder / "other")
    again = lab.run(rows[::-1])
    assert [again.line(custom_id) for custom_id in "ab"] == [first.line(custom_id) for custom_id in "ab"]
    assert first.line("a")["id"] != first.line("b")["id"]


def test_bad_lines_are_found_with_their_numbers(lab: Lab) -> None:
    file = lab.open([b"\xef\xbb\xbf" + json.dumps(chat("a")).encode(), b"", b"  \r", b"{", chat("a"), chat("b"), chat("a", n=0), b"{"])
    assert (file.num_lines, file.num_rows, file.num_bad) == (6, 2, 4)
    bad = list(file.bad_lines())
    assert [(each.number, each.custom_id) for each in bad] == [(4, None), (5, "a"), (7, "a"), (8, None)]
    assert "custom_id" not in bad[3].message
    assert "custom_id is that of line 1 too" in bad[1].message
    assert "body.n" in bad[2].message
    assert "custom_id is that of line 1 too" in bad[2].message
    assert [(each.number, each.row.custom_id) for each in file.rows()] == [(1, "a"), (6, "b")]


def test_what_the_chat_template_refuses_is_a_bad_line(lab: Lab, tmp_path: Path) -> None:
    source = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ m.content }}{% endfor %}"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": source}))
    renderer = ChatRenderer(Model(name="m", folder=tmp_path, revision="r", weights_sha256="ab", quantization="none"), lab.tokenizer)
    rows = RowRenderer(tokenizer=lab.tokenizer, load_chat=lambda: renderer, max_model_len=100, defaults={})
    with_system = chat("b", messages=[{"role": "system", "content": "x"}, {"role": "user", "content": "y"}])
    file = BatchFile(write(tmp_path / "in.jsonl", [chat("a"), with_system]), check=rows.check)
    (bad,) = file.bad_lines()
    assert (bad.custom_id, "no system" in bad.message) == ("b", True)


def test_limit_reads_no_further(lab: Lab) -> None:
    file = lab.open([chat("a"), b"", chat("b"), b"{", chat("a")], limit=2)
    assert (file.num_lines, file.num_bad) == (2, 0)


def test_a_file_without_a_line_or_with_another_content_is_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(BatchFileError, match="no line"):
        lab.open([b"", b" "])
    file = lab.open([chat("a"), chat("b")])
    write(tmp_path / "in.jsonl", [b"{" * 400])
    with pytest.raises(BatchFileError, match="has changed"):
        list(file.rows())


def test_what_killed_the_engine_twice_says_how_it_is_asked_again(lab: Lab) -> None:
    (request,) = lab.run([chat("a")]).asked
    failure = failure_of(replace(fail(request, Outcome.ENGINE_ERROR, "It died."), finish_reason=KILLED_ENGINE))
    assert failure is not None
    assert failure.message == "It died. It is not asked again unless --retry-killers is given."
