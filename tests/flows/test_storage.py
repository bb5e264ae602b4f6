"""Object paths and the settings that lead to them: an S3 protocol server over HTTP, in front of which stands one that fails."""

import multiprocessing
import pickle
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from chunkers.paths import ObjectPath, StorageError, path_of
from chunkers.readers import read_document
from chunkers.records import CHUNKS, Chunk, DocumentError
from chunkers.shards import read_shard, write_shard
from chunkers.storage import Storage, use_storage, used_storage
from flows.config import ConfigError, load_config
from flows.corpus import expand_inputs
from flows.runs import SUCCESS, Run, RunError, find_run, list_runs, write_file, write_shard_names
from tests.s3 import Faults


def test_an_object_path_is_a_path(bucket: ObjectPath) -> None:
    path = path_of(f"{bucket}/a/book.md")
    assert (path.name, path.stem, str(path.with_suffix(".edits.json"))) == ("book.md", "book", f"{bucket}/a/book.edits.json")
    assert not path.exists()
    write_file(path, "Text.\r\n")
    assert path.read_bytes() == b"Text.\r\n"
    assert not (bucket / "a").is_file()
    assert (bucket / "a").is_dir()
    write_file(bucket / "a" / "b" / "c.txt", b"")
    assert list(bucket.glob("a/*.md")) == [path]
    assert list((bucket / "a").iterdir()) == [bucket / "a" / "b", path]
    with pytest.raises(FileExistsError):
        path.create(b"another")
    assert path.read_bytes() == b"Text.\r\n"
    assert 0 <= path.age_s() < 60
    path.unlink()
    assert not path.exists()


def test_a_listing_of_before_hides_nothing(bucket: ObjectPath) -> None:
    assert list((bucket / "runs").iterdir()) == []
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(write_file, (bucket / "runs" / "proofread-a-1" / "manifest.json", "{}"))
    assert [run.name for run in list_runs(bucket)] == ["proofread-a-1"]


def _read_there(path: ObjectPath) -> bytes:
    return path.read_bytes()


def test_a_path_brings_its_settings_to_another_process(bucket: ObjectPath) -> None:
    write_file(bucket / "x", b"there")
    # spawned: it has the keys from its environment, and has loaded no settings
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read_there, (bucket / "x",)) == b"there"
    assert pickle.loads(pickle.dumps(bucket)) == bucket


def test_runs_of_a_store_are_found_by_name_whatever_its_listings_say(bucket: ObjectPath, faults: Faults) -> None:
    run = Run(bucket / "w" / "runs" / "proofread-a-1")
    run.write_manifest({"models": [{"name": "one"}]})
    write_shard_names(run.folder, ["shard-00000.parquet"])
    for name in ("chunks", "scores/model=one"):
        write_shard(f"{run.folder}/{name}/shard-00000.parquet", CHUNKS, [])
    run.finish(SUCCESS)
    faults.hides_listings = True
    found = find_run("proofread-a-1", bucket / "w")
    assert (found, found.state) == (run, "done")
    assert found.shards() == [run.folder / "chunks" / "shard-00000.parquet"]
    assert found.list_files("scores/*/shard-*.parquet") == [run.folder / "scores" / "model=one" / "shard-00000.parquet"]
    assert found.list_files("edits.parquet") == []
    with pytest.raises(RunError, match="No run 'last'"):
        find_run("last", bucket / "w")


def test_inputs_by_a_pattern(bucket: ObjectPath) -> None:
    for name in ("in/b.md", "in/a.md", "in/deep/c.md", "in/a.txt"):
        write_file(bucket / name, "Text.\n")
    assert expand_inputs([f"{bucket}/in/*.md"]) == [f"{bucket}/in/a.md", f"{bucket}/in/b.md"]
    assert expand_inputs([f"{bucket}/in/**/*.md"])[-1] == f"{bucket}/in/deep/c.md"
    with pytest.raises(DocumentError, match="no file fits"):
        expand_inputs([f"{bucket}/in/*.rst"])
    with pytest.raises(DocumentError, match="in one bucket"):
        expand_inputs(["s3://*/a.md"])


def test_what_passes_is_tried_again_and_what_stays_is_no_fault_of_the_file(bucket: ObjectPath, faults: Faults) -> None:
    write_file(bucket / "book.md", "Text.\n")
    faults.failing, faults.delay_s = "/", 0.05
    for ask in (
        (bucket / "book.md").exists,
        lambda: read_document(f"{bucket}/book.md"),
        lambda: list(read_shard(f"{bucket}/shard.parquet", Chunk)),
        lambda: write_file(bucket / "book.md", "Other.\n"),
        lambda: Run(bucket / "run").read_manifest(),
        lambda: expand_inputs([f"{bucket}/*.md"]),
    ):
        faults.num_failed = 0
        with pytest.raises(StorageError, match=r"the store does not answer.*asked again for a while.*AWS_ENDPOINT_URL"):
            ask()
        assert faults.num_failed == 3, "as often as AWS_MAX_ATTEMPTS says"
    faults.failing = ""
    assert read_document(f"{bucket}/book.md").text == "Text.\n"


def test_a_server_that_is_not_there(bucket: ObjectPath, faults: Faults) -> None:
    faults.stop()
    with pytest.raises(StorageError, match="the store does not answer"):
        (bucket / "book.md").exists()


def test_a_bucket_that_is_not_there(faults: Faults) -> None:
    with pytest.raises(FileNotFoundError, match=r"s3://no-such-bucket/x.*does not exist"):
        write_file(ObjectPath("s3://no-such-bucket/x"), b"")


def test_without_credentials(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in (("HOME", str(tmp_path)), ("AWS_EC2_METADATA_DISABLED", "true")):
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(StorageError, match=r"cannot be reached without credentials.*set AWS_ACCESS_KEY_ID"):
        (bucket / "x").exists()
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    (tmp_path / "credentials").write_text("[books]\naws_access_key_id = test\naws_secret_access_key = test\n")
    use_storage(Storage(endpoint_url=used_storage().endpoint_url, profile="books"))
    assert not (bucket / "x").exists()
    use_storage(Storage(endpoint_url=used_storage().endpoint_url, profile="others"))
    with pytest.raises(StorageError, match="others"):
        (bucket / "x").exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('secret = "hush"', r"secret is a secret.*AWS_ACCESS_KEY_ID"),
        ('aws_access_key_id = "hush"', "aws_access_key_id is a secret"),
        ('session_token = "hush"', "session_token is a secret"),
        ('endpoint_url = "http://me:hush@localhost:9000"', "holds a user or password"),
        ('endpoint_url = "localhost:9000"', "no address of a server"),
        ('bucket = "mine"', "Extra inputs are not permitted"),
    ],
)
def test_settings_that_are_refused(table: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flows.toml").write_text(f"[storage]\n{table}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message) as met:
        load_config()
    assert "hush" not in str(met.value)


@pytest.mark.parametrize("out", ["https://example.org/out", "s3://", "s3://me:hush@bucket/out", "s3://bucket/out[1]", "s3://bucket/*"])
def test_workspaces_that_are_refused(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="s3://BUCKET/PREFIX"):
        load_config(out=out)


def test_the_environment_stands_above_flows_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = used_storage()
    (tmp_path / "flows.toml").write_text('[storage]\nendpoint_url = "http://localhost:1"\nregion = "eu-central-1"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    try:
        load_config()
        options = fsspec.config.conf["s3"]
        assert (options["endpoint_url"], options.get("client_kwargs")) == ("http://localhost:1", None)
    finally:
        use_storage(before)
