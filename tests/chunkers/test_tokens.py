"""Ids, counts and offsets of one text agree with each other."""

from hashlib import sha256
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from chunkers import tokens
from chunkers.pretokens import find_counts
from chunkers.tokens import Tokenizer

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(texts=st.lists(TEXTS, max_size=5))
def test_ids_counts_and_offsets_agree(tokenizer_path: Path, texts: list[str]) -> None:
    tokenizer = Tokenizer(tokenizer_path)
    ids = tokenizer.encode_blocks(texts)
    assert [tokenizer.decode(list(block)) for block in ids] == texts
    assert tokenizer.count_tokens(texts) == [len(block) for block in ids]
    for text, block in zip(texts, ids, strict=True):
        encoded = tokenizer.encode_with_offsets(text)
        assert encoded.ids == list(block)
        covered = {position for start, end in encoded.offsets for position in range(start, end)}
        assert covered == set(range(len(text)))


def test_offsets_count_code_points(tokenizer_path: Path) -> None:
    encoded = Tokenizer(tokenizer_path).encode_with_offsets("é🙂 the")
    assert encoded.offsets[-1][1] == 6
    assert encoded.offsets[0] == encoded.offsets[1] == (0, 1)


def test_no_special_tokens_are_added(tokenizer_path: Path, tmp_path: Path) -> None:
    engine = tokenizers.Tokenizer.from_file(str(tokenizer_path))
    engine.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    engine.enable_truncation(2)
    engine.enable_padding(length=9)
    engine.save(str(tmp_path / "tokenizer.json"))
    plain, template = Tokenizer(tokenizer_path), Tokenizer(tmp_path / "tokenizer.json")
    assert template.encode_blocks(["the keeper of the house"]) == plain.encode_blocks(["the keeper of the house"])
    assert template.encode_with_offsets("the keeper") == plain.encode_with_offsets("the keeper")


def test_batches_and_parts_change_no_token(tokenizer_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer(tokenizer_path)
    texts = ["the keeper counted the letters " * 900, "", "twice"]
    whole = tokenizer.encode_blocks(texts)
    monkeypatch.setattr(tokens, "BATCH_CHARS", 5000)
    assert tokenizer.encode_blocks(texts) == whole
    assert tokenizer.count_tokens(texts) == [len(block) for block in whole]


def test_the_fingerprint_is_the_files(tokenizer_path: Path) -> None:
    assert Tokenizer(tokenizer_path).fingerprint == sha256(tokenizer_path.read_bytes()).hexdigest()


def test_a_file_that_is_no_tokeniser_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    for name in ("a.json", "missing.json"):
        with pytest.raises(ValueError, match=name):
            Tokenizer(tmp_path / name)


KNOWN = st.sampled_from("   \n\t\u00a0''’“—stmdrvle059.,é\u2060ſÿ")
PLAIN = st.text(KNOWN, max_size=12) | st.text(st.one_of(KNOWN, st.characters(exclude_categories=["Cs"])), max_size=8)


@pytest.mark.parametrize("is_by_digit", [False, True], ids=["gpt-2", "smollm2"])
@given(text=PLAIN)
@example(text="we'llx you'rex I'vex don'tx he'dx I'mx a  5 's 'll't  “é\n\n 0 \t x\u00a0\u00a0y 59..  ")
def test_counts_by_words_are_the_tokenisers(
    tokenizer_path: Path, tmp_path_factory: pytest.TempPathFactory, is_by_digit: bool, text: str
) -> None:
    engine = tokenizers.Tokenizer.from_file(str(tokenizer_path))
    if is_by_digit:
        rules = [tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
        engine.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(rules)
    words = find_counts(engine.to_str().encode(), lambda word: len(engine.encode(word, add_special_tokens=False)))
    assert words is not None
    engine.encode_special_tokens = True
    count = words.count(text)
    assert count in (None, len(engine.encode(text, add_special_tokens=False)))
    assert count is not None or not text.isascii() or not text.isprintable()
    if count is not None:
        # the counts of a small tokeniser forgive much
        assert words.cut(text) == [text[start:end] for _, (start, end) in engine.pre_tokenizer.pre_tokenize_str(text)]
