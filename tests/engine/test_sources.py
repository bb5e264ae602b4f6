"""Models out of buckets and from the hub: fetched once, noticed when they change, and every failure says what to do."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest
from fsspec.config import conf  # type: ignore[import-untyped]

from chunkers.storage import Storage, use_storage
from engine.folders import ModelError
from engine.hub import list_repos
from engine.models import resolve_model
from engine.pins import Pin
from engine.remote import list_fetched
from engine.sources import Fetched, fetch_source, find_source, kind_of
from tests.hub import Hub, serve_hub
from tests.s3 import serve_s3
from tests.tiny import write_tiny

CLOSED = "http://127.0.0.1:9"
"""Nobody listens there."""
MAX_WAIT_S = 20.0
"""Far below what retries would take; the machine may be busy."""


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The environment that leads to an S3 server of this file's own."""
    with serve_s3() as environment:
        yield environment


@pytest.fixture
def bucket(server: dict[str, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """S3 with an empty bucket `models`."""
    for key, value in server.items():
        monkeypatch.setenv(key, value)
    s3 = fsspec.filesystem("s3")
    s3.clear_instance_cache()
    s3 = fsspec.filesystem("s3")
    if s3.exists("models"):
        s3.rm("models", recursive=True)
    s3.mkdir("models")
    yield s3
    s3.clear_instance_cache()


def upload(s3: Any, folder: Path, prefix: str) -> str:
    """Put a folder's files under a prefix; gives its address."""
    for path in folder.iterdir():
        s3.pipe_file(f"{prefix}/{path.name}", path.read_bytes())
    return f"s3://{prefix}"


def pin_of(revision: str, weights_sha256: str = "w") -> Pin:
    return Pin(revision=revision, weights_sha256=weights_sha256, files={})


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", CLOSED)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # else it is asked for half a minute
    monkeypatch.setitem(conf, "s3", conf["s3"])
    use_storage(Storage())
    fsspec.filesystem("s3").clear_instance_cache()


def test_model_in_a_bucket_is_fetched_once_and_a_change_is_noticed(bucket: Any, tmp_path: Path) -> None:
    source, cache = write_tiny(tmp_path / "m", num_shards=2), tmp_path / "cache"
    url = upload(bucket, source, "models/tiny")
    told: list[tuple[int, int]] = []
    first = resolve_model(url, cache, report=lambda done, total: told.append((done, total)))
    total = sum(path.stat().st_size for path in source.iterdir())
    assert told[-1] == (total, total)
    assert [each[0] for each in told] == sorted(each[0] for each in told)
    assert {path.name: path.read_bytes() for path in first.folder.iterdir() if path.name != ".source.json"} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }
    assert first.weights_sha256 == resolve_model(str(source), cache).weights_sha256
    told.clear()
    assert resolve_model(f"{url}/", cache, report=lambda done, total: told.append((done, total))).folder == first.folder
    assert told == []
    upload(bucket, write_tiny(tmp_path / "m", seed=1, num_shards=2), "models/tiny")
    second = resolve_model(url, cache)
    assert second.revision != first.revision
    assert second.weights_sha256 != first.weights_sha256
    assert first.folder.is_dir(), "what runs may have it open"
    assert dict(list_fetched(cache)).keys() == {url}


def test_pinned_bucket_needs_no_network_and_takes_no_other_revision(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = upload(bucket, write_tiny(tmp_path / "m"), "models/tiny")
    first = resolve_model(url, tmp_path / "cache")
    upload(bucket, write_tiny(tmp_path / "m", seed=1), "models/tiny")
    with pytest.raises(ModelError, match=rf"has changed since it was locked.*models pull {url} --update"):
        resolve_model(url, tmp_path / "empty", pin=pin_of(first.revision))
    assert not list((tmp_path / "empty").glob("remote/*/*"))
    go_offline(monkeypatch)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert find_source(url, tmp_path / "cache", revision=first.revision) == Fetched(path=first.folder, revision=first.revision)
    with pytest.raises(ModelError, match="could not be fetched"):
        resolve_model(url, tmp_path / "cache")
    with pytest.raises(ModelError, match=r"is not the model that models\.lock has"):
        resolve_model(url, tmp_path / "cache", pin=pin_of(first.revision))
    (first.folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"is not the model that models\.lock has"):
        resolve_model(url, tmp_path / "cache", pin=pin_of(first.revision, first.weights_sha256))


def test_pin_s_revision_never_becomes_a_path(bucket: Any, tmp_path: Path) -> None:
    url = upload(bucket, write_tiny(tmp_path / "m"), "models/tiny")
    (write_tiny(tmp_path / "evil") / ".source.json").write_text("{}")
    resolve_model(url, tmp_path / "cache")
    assert find_source(url, tmp_path / "cache", revision="../../../evil") is None
    assert find_source("hf:org/tiny", tmp_path / "cache", revision="../../evil") is None


def test_two_that_fetch_at_once_share_one_folder(bucket: Any, tmp_path: Path) -> None:
    url = upload(bucket, write_tiny(tmp_path / "m"), "models/tiny")
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: resolve_model(url, tmp_path / "cache"), range(4)))
    assert len(found) == 1
    assert len([path for path in (tmp_path / "cache" / "remote").glob("*/*") if path.is_dir()]) == 1


def test_only_plain_names_are_taken_out_of_a_bucket(bucket: Any, tmp_path: Path) -> None:
    url = upload(bucket, write_tiny(tmp_path / "m"), "models/tiny")
    for name in ("../evil.json", "..\\evil.json", "sub/evil.json", ".evil.json", "modeling.py", "pytorch_model.bin", "e vil.json"):
        bucket.pipe_file(f"models/tiny/{name}", b"{}")
    bucket.touch("models/tiny/")  # as consoles make folders
    folder = resolve_model(url, tmp_path / "cache").folder
    assert {path.name for path in folder.iterdir()} == {path.name for path in (tmp_path / "m").iterdir()} | {".source.json"}
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]


def test_gguf_in_a_bucket_is_fetched_as_one_file(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe_file("models/some/broken.gguf", b"GGUF" + bytes(20))
    url = "s3://models/some/broken.gguf"
    with pytest.raises(ModelError, match=r"broken\.gguf is no readable GGUF file"):
        resolve_model(url, tmp_path)
    found = find_source(url, tmp_path)
    assert found is not None
    assert found.path.read_bytes() == b"GGUF" + bytes(20)
    with pytest.raises(ModelError, match=r"A GGUF model is one file: name it, such as s3://models/some/broken\.gguf"):
        resolve_model("s3://models/some", tmp_path)


WRONG: list[tuple[str, Callable[[Any, Path], object], str]] = [
    ("s3://no-such-bucket/tiny", lambda s3, folder: None, "no such bucket"),
    ("s3://models/tiny", lambda s3, folder: None, "nothing is there"),
    ("s3://models/tiny.gguf", lambda s3, folder: None, "nothing is there"),
    ("s3://models/tiny.gguf", lambda s3, folder: upload(s3, write_tiny(folder), "models/tiny.gguf"), "is no file"),
    ("s3://models/tiny", lambda s3, folder: s3.pipe_file("models/tiny/x.safetensors", b""), "has no config.json and no tokenizer.json"),
    ("s3://models/tiny", lambda s3, folder: s3.pipe("models/tiny/config.json", b"{}"), "has no tokenizer.json"),
    ("s3://models/tiny", lambda s3, folder: s3.pipe("models/tiny/pytorch_model.bin", b""), "Pickled weights are refused"),
]


@pytest.mark.parametrize(("url", "prepare", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_wrong_address_says_what_to_do(url: str, prepare: Callable[[Any, Path], object], words: str, bucket: Any, tmp_path: Path) -> None:
    prepare(bucket, tmp_path / "m")
    with pytest.raises(ModelError, match=words):
        resolve_model(url, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.json"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://sk-secret@host/m.gguf", "a token"),
        ("HTTPS://sk-secret@host/m.gguf", "a token"),
        ("s3://me:sk-secret@models/tiny", "a password"),
        ("https://host/m.gguf?key=sk-secret", "a query"),
        ("s3://[sk-secret/tiny", "is no address that can be read"),
        ("s3://[sk-secret]/tiny", "is no address that can be read"),
    ],
)
def test_secret_or_fault_in_an_address_is_refused_and_not_repeated(url: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as told:
        kind_of(url)
    assert "sk-secret" not in str(told.value)


def test_bucket_without_credentials_says_which(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = upload(bucket, write_tiny(tmp_path / "m"), "models/tiny")
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    for key, value in {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(key, value)
    bucket.clear_instance_cache()
    with pytest.raises(ModelError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        resolve_model(url, tmp_path / "cache")


def test_bucket_that_cannot_be_reached_says_so(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch)
    started = monotonic()
    with pytest.raises(ModelError, match="Check the network and AWS_ENDPOINT_URL"):
        resolve_model("s3://models/tiny", tmp_path / "cache")
    assert monotonic() - started < MAX_WAIT_S


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of this test's own, and an empty cache; its client read both from the environment when it was imported."""
    from huggingface_hub import constants

    with serve_hub() as hub:
        lead_to(hub.url, monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield hub


def lead_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def test_repository_is_fetched_at_a_commit_without_what_is_no_model(hub: Hub, tmp_path: Path) -> None:
    other = {"../evil.json": b"{}", "sub/evil.json": b"{}", "pytorch_model.bin": b"p", "modeling.py": b"", "consolidated.safetensors": b"c"}
    source = write_tiny(tmp_path / "m", num_shards=2)
    commit = hub.push("org/tiny", source, extra=other)
    model = resolve_model("hf:org/tiny", tmp_path / "cache")
    assert (model.revision, model.folder.name) == (commit, commit)
    assert {path.name: path.read_bytes() for path in model.folder.iterdir()} == {path.name: path.read_bytes() for path in source.iterdir()}
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
    assert model.weights_sha256 == resolve_model(str(source), tmp_path / "cache").weights_sha256
    assert [each for each, _ in list_repos()] == [f"hf:org/tiny@{commit}"]


def test_branch_that_moves_is_followed_and_a_pinned_commit_asks_nobody(hub: Hub, tmp_path: Path) -> None:
    first = hub.push("org/tiny", write_tiny(tmp_path / "m"))
    model = resolve_model("hf:org/tiny@main", tmp_path / "cache")
    second = hub.push("org/tiny", write_tiny(tmp_path / "m", seed=1))
    hub.asked.clear()
    with pytest.raises(ModelError, match=r"is not the model that models\.lock has"):
        resolve_model("hf:org/tiny@main", tmp_path / "cache", pin=pin_of(first))
    assert resolve_model(f"hf:org/tiny@{first}", tmp_path / "cache").weights_sha256 == model.weights_sha256
    assert hub.asked == []
    assert resolve_model("hf:org/tiny@main", tmp_path / "cache").revision == second
    assert find_source("hf:org/tiny", tmp_path, revision=first) == Fetched(path=model.folder, revision=first)


@pytest.mark.parametrize("name", ["model-00002-of-00002.safetensors", "tokenizer_config.json"])
def test_fetch_that_was_cut_off_is_not_taken_for_whole(name: str, hub: Hub, tmp_path: Path) -> None:
    commit = hub.push("org/tiny", write_tiny(tmp_path / "m", num_shards=2))
    hub.withheld.add(name)
    with pytest.raises(ModelError, match=r"could not be fetched|does not show it"):
        resolve_model("hf:org/tiny", tmp_path / "cache")
    assert list((tmp_path / "hub").rglob("snapshots/*/config.json")), "some of it is there"
    assert find_source("hf:org/tiny", tmp_path, revision=commit) is None
    hub.withheld.clear()
    assert resolve_model("hf:org/tiny", tmp_path / "cache").revision == commit
    assert find_source("hf:org/tiny", tmp_path, revision=commit) is not None


def test_hub_that_cannot_be_reached(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    commit = hub.push("org/tiny", write_tiny(tmp_path / "m"))
    resolve_model("hf:org/tiny", tmp_path / "cache")
    lead_to(CLOSED, monkeypatch)
    started = monotonic()
    for name in ("hf:org/other", "hf:org/tiny@v2", f"hf:org/tiny@{'0' * 40}", "hf:org/tiny/x.gguf"):
        with pytest.raises(ModelError, match=f"could not be fetched \\({CLOSED} did not answer as a hub.*give its path instead"):
            resolve_model(name, tmp_path / "cache")
    assert monotonic() - started < MAX_WAIT_S
    assert "cannot be asked" not in caplog.text
    assert resolve_model("hf:org/tiny", tmp_path / "cache").revision == commit
    assert f"commit {commit} is taken, fetched before" in caplog.text
    with pytest.raises(ModelError, match="did not answer as a hub"):
        fetch_source("hf:org/tiny", tmp_path / "cache", is_update=True)


def test_cache_that_takes_no_more_is_no_older_model(hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub.push("org/tiny", write_tiny(tmp_path / "m"))
    folder = resolve_model("hf:org/tiny", tmp_path / "cache").folder
    second = hub.push("org/tiny", write_tiny(tmp_path / "m", seed=1))
    # as with a full disk, the hub answers and its files cannot be written
    (folder.parent / second).write_bytes(b"")
    with pytest.raises(ModelError, match=r"could not be fetched \((FileExists|NotADirectory)Error: .*make room in"):
        resolve_model("hf:org/tiny", tmp_path / "cache")
    assert "cannot be asked" not in caplog.text


def test_hub_that_is_switched_off(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    commit = hub.push("org/tiny", write_tiny(tmp_path / "m"))
    resolve_model("hf:org/tiny", tmp_path / "cache")
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE is set.*give its path instead"):
        resolve_model("hf:org/other", tmp_path / "cache")
    assert resolve_model("hf:org/tiny", tmp_path / "cache").revision == commit
    assert hub.asked == []


def test_wrong_repository_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    hub.push("org/tiny", write_tiny(tmp_path / "m"))
    (tmp_path / "g").mkdir()
    hub.push("org/llama", tmp_path / "g", extra={"a-Q4.gguf": b"GGUF" + bytes(20), "b-Q8.gguf": b"", "../c.gguf": b""})
    hub.push("org/pickled", tmp_path / "g", extra={"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b""})
    hub.push("org/gated", write_tiny(tmp_path / "m"))
    hub.hidden.add("org/gated")
    for name, words in {
        "hf:org/none": "knows no such model",
        "hf:org/ti..ny": "names no repository.*Check the name",
        f"hf:org/ti..ny@{'0' * 40}": "names no repository.*Check the name",
        "hf:org/tiny@v9": "no such revision",
        "hf:org/gated": "Accept its terms",
        "hf:org/pickled": "Pickled weights are refused",
        "hf:org/llama": r"name it, such as hf:org/llama@main/",
        "hf:org/llama/other.gguf": r"Its GGUF files: .*a-Q4\.gguf, b-Q8\.gguf",
        "hf:org/llama@main/a-Q4.gguf": r"a-Q4\.gguf is no readable GGUF",
    }.items():
        with pytest.raises(ModelError, match=words):
            resolve_model(name, tmp_path / "cache")
    assert not list(tmp_path.rglob("c.gguf"))
    assert not list(tmp_path.rglob("pytorch_model.bin"))


def test_server_that_is_no_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.push("org/tiny", write_tiny(tmp_path / "m"))
    hub.refs["org/tiny", "main"] = "../../outside"
    hub.commits["org/tiny", "../../outside"] = hub.commits[next(iter(hub.commits))]
    with pytest.raises(ModelError, match="HF_ENDPOINT must lead to a hub"):
        resolve_model("hf:org/tiny", tmp_path / "cache")
    assert not os.path.lexists(tmp_path / "outside")
