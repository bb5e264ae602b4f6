"""What is wrong with a model's files: each shard there and whole, the tokeniser and the chat template usable. Loads no weights."""

from collections.abc import Iterator
from string import Template

from chunkers.tokens import Tokenizer
from engine.facts import has_chat_template
from engine.folders import ModelError, missing_shards, weight_paths
from engine.models import Model
from engine.prompts import ChatRenderer, Prompt

_SAMPLE = "“Naïve?” 1984 — said he.\n"
_PROMPT = Prompt(name="check", version=1, system="Answer.", user=Template("$text"), correction=Template("$error"))


def find_faults(model: Model) -> list[str]:
    """Each fault in a sentence: what was met, the rule, what to do. Empty for a model that is whole."""
    return [*_weight_faults(model), *_tokenizer_faults(model)]


def _weight_faults(model: Model) -> Iterator[str]:
    from safetensors import SafetensorError, safe_open

    try:
        for name in missing_shards(model.folder):
            yield f"{name} is missing, and the index names it; fetch or copy it."
    except ModelError as error:
        yield str(error)
    for path in weight_paths(model.folder):
        try:
            # it reads the header and compares the sizes in it with the file's
            with safe_open(path, framework="numpy") as file:
                is_empty = not file.keys()
        except (SafetensorError, OSError) as error:
            yield f"{path.name} is no whole safetensors file ({error}); fetch or copy it again."
            continue
        if is_empty:
            yield f"{path.name} holds no tensor; fetch or copy it again."


def _tokenizer_faults(model: Model) -> Iterator[str]:
    try:
        tokenizer = Tokenizer(model.tokenizer_path)
    except ValueError as error:
        yield f"{error}."
        return
    ids = tokenizer.encode_with_offsets(_SAMPLE).ids
    if not ids:
        yield "tokenizer.json gives no tokens for a sentence; fetch the model again."
    try:
        if has_chat_template(model.folder):
            ChatRenderer(model, tokenizer).render(_PROMPT, {"text": _SAMPLE})
    except ModelError as error:
        yield str(error)
