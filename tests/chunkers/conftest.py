"""A small real tokeniser, trained in the test run."""

from pathlib import Path

import pytest
import tokenizers
from hypothesis import settings
from tokenizers import decoders, models, pre_tokenizers, trainers

PROSE = (
    "It was a bright cold day in April, and the clocks were striking thirteen. The keeper of the house said nothing; "
    "he counted the letters twice, put them away, and waited for the rain to stop. «Well?» she asked. Nobody answered."
)

settings.register_profile("chunkers", deadline=None, max_examples=60)
settings.load_profile("chunkers")


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE of a few hundred tokens: English words are short, everything else is bytes."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False)
    tokenizer.train_from_iterator([PROSE], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path
