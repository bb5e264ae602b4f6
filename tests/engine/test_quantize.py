"""Int8 weights: what is rounded and how far off it is, what stays, what is refused, and that a checkpoint is whole or not there."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file

from engine.folders import ModelError
from engine.models import Model
from engine.protocol import Engine
from engine.quantize import RECIPE, quantize_model
from engine.records import Request, Sampling
from engine.weights import list_tensors
from tests.engine.checkpoints import CONFIG, SHAPES, Part, make_llama, part_of, write_model, write_safetensors

ROOT = Path(__file__).parents[2]


def numbers_of(part: Part) -> npt.NDArray[np.float32]:
    """What a made-up tensor stands for, by the formats' own definitions."""
    if part.dtype == "BF16":
        halves = np.frombuffer(part.content, "<u2").astype(np.uint32) << 16
        return halves.view(np.float32).reshape(part.shape)
    return np.frombuffer(part.content, {"F32": "<f4", "F16": "<f2"}[part.dtype]).astype(np.float32).reshape(part.shape)


def matrices() -> list[str]:
    return [f"model.layers.{layer}.{name}.weight" for layer in range(2) for name in SHAPES]


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_each_number_is_off_by_half_a_step_of_its_row_at_most(dtype: str, tmp_path: Path) -> None:
    source = make_llama(dtype)
    made = load_file_without_bfloat16(quantize_model(write_model(tmp_path / "source", source), tmp_path).folder / "model.safetensors")
    for name in matrices():
        weights, rounded, scale = numbers_of(source[name]), made[name], made[f"{name}_scale"]
        assert rounded.dtype == np.int8
        assert scale.dtype == np.float32
        assert scale.shape == (len(weights), 1)
        assert (np.abs(rounded * scale - weights) <= 0.5001 * scale).all()
        largest = np.abs(weights).max(axis=1, keepdims=True)
        # rows differ ten-thousandfold: one step for the whole matrix would be far above this
        assert (scale <= largest / 127 + 1e-6).all()
        assert (rounded[3] == 0).all(), "a row of zeros stays one"


def load_file_without_bfloat16(path: Path) -> dict[str, npt.NDArray[Any]]:
    """What the safetensors library reads, bfloat16, which numpy lacks, left out."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys() if file.get_slice(name).get_dtype() != "BF16"}  # noqa: SIM118


def test_everything_else_stays_byte_for_byte(tmp_path: Path) -> None:
    source = make_llama("BF16") | {"lm_head.weight": part_of(np.ones((64, 32), dtype=np.float32), "BF16")}
    model = quantize_model(write_model(tmp_path / "source", source, tie_word_embeddings=False), tmp_path)
    made = {tensor.name: tensor for tensor in list_tensors(model.folder)}
    kept = source.keys() - set(matrices())
    assert {"lm_head.weight", "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.bias"} <= kept
    for name in kept:
        assert (made[name].dtype, made[name].shape) == ("BF16", source[name].shape)
        assert made[name].map().tobytes() == source[name].content
    assert made.keys() == source.keys() | {f"{name}_scale" for name in matrices()}


def test_checkpoint_says_how_it_was_made(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", make_llama(), rope_theta=5.0)
    model = quantize_model(source, tmp_path)
    config = json.loads((model.folder / "config.json").read_text())
    assert config.items() >= (CONFIG | {"rope_theta": 5.0}).items()
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    assert (model.folder / "tokenizer.json").read_text() == "{}"
    assert model.quantization == f"int8:{RECIPE}"
    assert (model.weights_sha256, model.revision, model.name) == (source.weights_sha256, source.revision, source.name)
    assert quantize_model(replace(source, quantization="gguf:Q4_1"), tmp_path).quantization == f"gguf:Q4_1 int8:{RECIPE}"


def test_config_that_says_null_of_a_quantisation_has_none(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", make_llama(), quantization_config=None)
    assert quantize_model(source, tmp_path).quantization == f"int8:{RECIPE}"


def test_other_tokeniser_or_template_is_another_checkpoint(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", make_llama())
    (source.folder / ".source.json").write_text("{}")
    made = [quantize_model(source, tmp_path).folder]
    (source.folder / ".source.json").write_text('{"url": "s3://elsewhere"}')
    assert quantize_model(source, tmp_path).folder == made[0], "where it came from changes nothing"
    assert not (made[0] / ".source.json").exists()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        (source.folder / name).write_text('{"other": 1}')
        made.append(quantize_model(source, tmp_path).folder)
        assert (made[-1] / name).read_text() == '{"other": 1}'
    assert len(set(made)) == 5


def test_large_model_goes_into_several_files_with_an_index(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", make_llama())
    one, several = quantize_model(source, tmp_path / "one"), quantize_model(source, tmp_path / "several", max_file_bytes=10_000)
    files = sorted(several.folder.glob("*.safetensors"))
    assert len(files) > 2
    placed = json.loads((several.folder / "model.safetensors.index.json").read_text())["weight_map"]
    found = {name: array for path in files for name, array in load_file(path).items()}
    assert placed == {name: path.name for path in files for name in load_file(path)}
    whole = load_file(one.folder / "model.safetensors")
    assert found.keys() == whole.keys()
    assert all((found[name] == whole[name]).all() for name in whole)


def test_memory_is_that_of_a_file_not_of_the_model(tmp_path: Path) -> None:
    # 256 MiB of weights; their float32 form would be 512 MiB, and their int8 form 128
    block = part_of(np.full((2048, 4096), 0.5, dtype=np.float32), "BF16")
    write_model(tmp_path / "source", {f"model.layers.{layer}.mlp.up_proj.weight": block for layer in range(16)})
    code = f"""
import resource
from pathlib import Path
from engine.models import Model
from engine.quantize import quantize_model

model = Model(name="m", folder=Path({str(tmp_path / "source")!r}), revision="local", weights_sha256="ab", quantization="none")
taken = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) << 10
resource.setrlimit(resource.RLIMIT_DATA, (taken + (120 << 20),) * 2)
quantize_model(model, Path({str(tmp_path)!r}), max_file_bytes=32 << 20)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    ("tensors", "settings", "words"),
    [
        ({}, {"quantization_config": {"quant_method": "awq"}}, "quantised already, as awq"),
        ({"model.layers.0.mlp.experts.0.up_proj.weight": part_of(np.ones((8, 8), np.float32))}, {}, "mixture of experts"),
        ({"model.layers.0.mixer.in_proj.weight": part_of(np.ones((8, 8), np.float32))}, {}, r"in_proj.weight has the shape \[8, 8\]"),
        ({"model.layers.0.mlp.up_proj.weight": part_of(np.ones((2, 8, 8), np.float32))}, {}, r"has the shape \[2, 8, 8\]"),
        ({"model.layers.0.mlp.up_proj.weight": part_of(np.ones((8, 8), np.float32), "I8")}, {}, "is I8"),
        ({"model.layers.1.mlp.up_proj.weight": part_of(np.full((8, 8), np.nan, np.float32))}, {}, "not finite"),
    ],
)
def test_what_cannot_be_rounded_is_refused_and_leaves_nothing(
    tensors: dict[str, Part], settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    source = write_model(tmp_path / "source", make_llama() | tensors, **settings)
    with pytest.raises(ModelError, match=words):
        quantize_model(source, tmp_path)
    assert not list((tmp_path).glob("models/*")) + list(tmp_path.glob("models/.*"))


def test_broken_weights_are_named(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", make_llama())
    path = source.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"model\.safetensors is no whole safetensors file"):
        quantize_model(source, tmp_path)


def test_weights_that_lie_there_twice_are_read_once(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", make_llama())
    write_safetensors(source.folder / "consolidated.safetensors", {"layers.0.wq.weight": part_of(np.ones((8, 8), np.float32))})
    index = {"weight_map": dict.fromkeys(make_llama(), "model.safetensors")}
    (source.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    made = quantize_model(source, tmp_path)
    assert "layers.0.wq.weight" not in {tensor.name for tensor in list_tensors(made.folder)}
    assert sorted(path.name for path in made.folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]


SLOW_WRITE = """
import sys, time
from pathlib import Path
from engine.quantize import write_once

def write(folder):
    (folder / "model.safetensors").write_text("half")
    print("writing", flush=True)
    time.sleep(60)

write_once(Path(sys.argv[1]), write)
"""


def test_killed_half_way_leaves_nothing_that_counts(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", make_llama())
    target = quantize_model(source, tmp_path / "known").folder
    folder = tmp_path / "models" / target.name
    process = subprocess.Popen([sys.executable, "-c", SLOW_WRITE, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not folder.exists()
    assert quantize_model(source, tmp_path).folder == folder
    assert load_file(folder / "model.safetensors").keys() == load_file(target / "model.safetensors").keys()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "what the killed one left is gone"


def test_two_processes_at_once_make_one_checkpoint(tmp_path: Path) -> None:
    write_model(tmp_path / "source", make_llama())
    code = f"""
from pathlib import Path
from engine.models import Model
from engine.quantize import quantize_model
model = Model(name="m", folder=Path({str(tmp_path / "source")!r}), revision="local", weights_sha256="ab", quantization="none")
print(quantize_model(model, Path({str(tmp_path)!r})).folder)
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert [path.name for path in (tmp_path / "models").iterdir()] == [Path(outputs[0].strip()).name]


@pytest.mark.slow
def test_numbers_and_settings_are_those_of_the_compressed_tensors_library(tmp_path: Path) -> None:
    import torch
    from compressed_tensors.compressors import IntQuantizationCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.quantization.utils import calculate_qparams

    source = make_llama()
    model = quantize_model(write_model(tmp_path / "source", source), tmp_path)
    config = QuantizationConfig.model_validate(json.loads((model.folder / "config.json").read_text())["quantization_config"])
    (scheme,) = config.config_groups.values()
    made = load_file(model.folder / "model.safetensors")
    for name in matrices():
        weights = torch.from_numpy(numbers_of(source[name]).copy())
        scale, _ = calculate_qparams(weights.amin(1, keepdim=True), weights.amax(1, keepdim=True), scheme.weights)
        wanted = IntQuantizationCompressor.compress({"weight": weights, "weight_scale": scale}, scheme)
        assert (made[name] == wanted["weight"].numpy()).all()
        assert (made[f"{name}_scale"] == scale.numpy()).all()


SENTENCES = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "It was a bright cold day in April, and the clocks were striking thirteen.",
    "Water boils at one hundred degrees and freezes at zero, as every child knows.",
)


@pytest.mark.slow
@pytest.mark.engine
def test_int8_model_loads_and_scores_as_the_whole_one_does(model: Model, vllm_engine: Engine) -> None:
    from chunkers.tokens import Tokenizer
    from engine.process import EngineSpec, ProcessEngine

    tokenizer = Tokenizer(model.tokenizer_path)
    requests = [
        Request(
            row_key=f"{number:064}",
            doc_id="d",
            chunk_id="c",
            template="t",
            template_version=1,
            token_ids=tuple(tokenizer.encode_with_offsets(sentence).ids),
            sampling=Sampling(score_from=1),
        )
        for number, sentence in enumerate(SENTENCES)
    ]

    def score(engine: Engine) -> npt.NDArray[np.float64]:
        answers = {completion.request.row_key: completion.logprobs for completion in engine.run(requests)}
        return np.concatenate([answers[request.row_key] for request in requests])

    whole = score(vllm_engine)
    with ProcessEngine(EngineSpec(kind="vllm", model=quantize_model(model), engine_args={"max_model_len": 512})) as engine:
        rounded = score(engine)
    difference = np.abs(whole - rounded)
    # measured: 0.992 and 0.33 nats over 44 tokens
    assert np.corrcoef(whole, rounded)[0, 1] > 0.98, difference
    assert difference.mean() < 0.5, difference
