"""Models of the Hugging Face hub, through its own client and in its own cache: resolved to a commit, fetched file by file.

Nothing is asked of the hub for a commit that is in the cache whole. Code in a repository is never run, and pickles are never fetched.
"""

import glob
import logging
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.folders import ModelError, choose_files, list_names, missing_shards, refuse_single_file, require_files
from engine.sources import Fetched

logger = logging.getLogger(__name__)

# the client tells the hub what runs it, unless this is set before it is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

TIMEOUT_S = 10.0
"""For the answer that names the commit; without one the hub counts as unreachable."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.gguf")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """What a source `hf:ORG/NAME[@REVISION][/FILE.gguf]` names."""

    source: str
    repo_id: str
    revision: str
    """A branch, a tag or a commit."""
    file: str | None
    """The GGUF file; None for a folder of safetensors."""


def parse_repo(source: str) -> Repo:
    """Raises ModelError for what is no name of a repository."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    refuse_single_file(source)
    rest, file = source.removeprefix("hf:"), None
    if rest.endswith(".gguf"):
        rest, _, file = rest.rpartition("/")
    repo_id, at, revision = rest.partition("@")
    if not (_REPO.fullmatch(repo_id) and (not at or _REF.fullmatch(revision)) and (file is None or _FILE.fullmatch(file))):
        raise ModelError(f"{source} names no repository. Write hf:ORG/NAME, hf:ORG/NAME@REVISION, or hf:ORG/NAME@REVISION/FILE.gguf.")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ModelError(f"{source} names no repository: {error} Check the name on the model's page.") from None
    return Repo(source=source, repo_id=repo_id, revision=revision or "main", file=file)


def fetch_repo(source: str, commit: str | None = None, *, is_update: bool = False) -> Fetched:
    """The repository's model files in the hub's cache, of `commit` or of what the source's revision is now, fetched where it has them not.

    Where the hub cannot be reached, what was fetched of that revision before is taken, with a warning, unless it is to be updated.
    Raises ModelError for all else.
    """
    from huggingface_hub import HfApi

    hub_errors: tuple[type[Exception], ...] = (*_line_errors(), OSError, ValueError)
    repo = parse_repo(source)
    fixed = commit or (repo.revision if _COMMIT.fullmatch(repo.revision) else None)
    if fixed is not None and (found := find_repo(source, fixed)):
        return found
    try:
        info = HfApi().model_info(repo.repo_id, revision=fixed or repo.revision, timeout=TIMEOUT_S)
        if not _COMMIT.fullmatch(info.sha or ""):
            raise ModelError(f"{source}: the hub names no commit, but {info.sha!r}. HF_ENDPOINT must lead to a hub; check or unset it.")
        small, weights = _parts(repo, [sibling.rfilename for sibling in info.siblings or ()])
        # the small ones first: where the weights are whole, everything is; by its name, so that the cache knows what it was
        folder = _snapshot(repo, fixed or repo.revision, small)
        if folder.name != info.sha:
            raise ModelError(f"{source} has moved from commit {info.sha} to {folder.name} while it was fetched. Run it again.")
        if weights:
            _snapshot(repo, folder.name, weights)
    except ModelError:
        raise
    except hub_errors as error:
        if _is_unreachable(error) and fixed is None and not is_update and (found := find_repo(source)):
            logger.warning(
                "%s: the hub cannot be asked (%s); commit %s is taken, fetched before", source, type(error).__name__, found.revision
            )
            return found
        raise _explain(repo, commit, error) from error
    return Fetched(path=folder / repo.file if repo.file else folder, revision=folder.name)


def find_repo(source: str, commit: str | None = None) -> Fetched | None:
    """From the hub's cache alone: of that commit, else of what the revision was when last fetched; None where it is not there whole."""
    from huggingface_hub import try_to_load_from_cache

    repo = parse_repo(source)
    if commit is not None and not _COMMIT.fullmatch(commit):
        return None
    found = try_to_load_from_cache(repo.repo_id, repo.file or "config.json", revision=commit or repo.revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    if repo.file is None:
        try:
            require_files(list_names(folder), repo.source)
        except ModelError:
            return None
        if missing_shards(folder):
            return None
    return Fetched(path=Path(found) if repo.file else folder, revision=folder.name)


def list_repos() -> list[tuple[str, Fetched]]:
    """Every model in the hub's cache that can be loaded, with its source pinned to its commit, sorted."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repos = [repo for repo in scan_cache_dir(constants.HF_HUB_CACHE).repos if repo.repo_type == "model"]
    except (CacheNotFound, OSError):
        return []
    found: list[tuple[str, Fetched]] = []
    for repo_id, revision in ((repo.repo_id, revision) for repo in repos for revision in repo.revisions):
        source = f"hf:{repo_id}@{revision.commit_hash}"
        names = sorted(file.file_name for file in revision.files if file.file_path.parent == revision.snapshot_path)
        sources = [source, *(f"{source}/{name}" for name in names if name.endswith(".gguf"))]
        found += [(each, fetched) for each in sources if _REPO.fullmatch(repo_id) and (fetched := find_repo(each, revision.commit_hash))]
    return sorted(found, key=lambda each: each[0])


def _snapshot(repo: Repo, revision: str, names: list[str]) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        disable_progress_bars()
    patterns = [glob.escape(name) for name in names]
    return Path(snapshot_download(repo.repo_id, revision=revision, allow_patterns=patterns, etag_timeout=TIMEOUT_S))


def _parts(repo: Repo, names: list[str]) -> tuple[list[str], list[str]]:
    """The names to fetch, small files and weights. Raises ModelError where the repository holds no such model."""
    if repo.file is not None:
        if repo.file not in names:
            ggufs = ", ".join(sorted(name for name in names if name.endswith(".gguf"))) or "none"
            raise ModelError(f"{repo.source}: the repository has no file {repo.file}. Its GGUF files: {ggufs}. Name one of them.")
        return [repo.file], []
    require_files(names, f"hf:{repo.repo_id}@{repo.revision}")
    chosen = choose_files(names)
    weights = [name for name in chosen if name.endswith(".safetensors")]
    return [name for name in chosen if name not in weights], weights


def _line_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where it has no answer, offline among it."""
    from huggingface_hub import errors

    # of httpx or httpx2, whichever the installed client is built on
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return (http_error, ConnectionError, TimeoutError, errors.LocalEntryNotFoundError)


def _is_unreachable(error: Exception) -> bool:
    """Whether the hub did not answer, or not as a hub that works."""
    status = _status(error)
    return isinstance(error, _line_errors()) if status is None else status >= 500 or status == 429


def _status(error: Exception) -> int | None:
    response: Any = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _explain(repo: Repo, commit: str | None, error: Exception) -> ModelError:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    wanted = f"{repo.source} (locked at {commit})" if commit else repo.source
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"{wanted}: the repository has no such revision. Give a branch, a tag or a commit of it after the @.")
    if isinstance(error, GatedRepoError):
        return ModelError(f"{wanted}: its owner lets it be read on request. Accept its terms on its page, and set HF_TOKEN.")
    if isinstance(error, RepositoryNotFoundError) or _status(error) in (401, 403):
        return ModelError(f"{wanted}: the hub knows no such model, or does not show it. Check the name; for a private one set HF_TOKEN.")
    # full disks and the like; what the client itself raises as an OSError has no number
    if isinstance(error, OSError) and error.errno is not None and not _is_unreachable(error):
        return ModelError(
            f"{wanted} could not be fetched ({type(error).__name__}: {error}). The hub's cache must be writable and hold the whole model; "
            f"make room in {constants.HF_HUB_CACHE}, or set HF_HOME to another folder."
        )
    met = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} did not answer as a hub: {type(error).__name__}"
    return ModelError(
        f"{wanted} could not be fetched ({met}). The hub must be reachable, or the model in its cache, {constants.HF_HUB_CACHE}. "
        "Download the folder on another machine and give its path instead, or set HF_ENDPOINT to a mirror."
    )
