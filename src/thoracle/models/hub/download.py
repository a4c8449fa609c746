"""Downloads from the Hugging Face hub, whole files only, those that are there not again.

Whose account it is comes from `hf auth login` or HF_TOKEN, never from an argument: arguments end up in shell histories.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from thoracle.errors import ExtraMissing, FetchFailed, InputError
from thoracle.files.lock import exclusive_lock
from thoracle.models.hub.catalogue import CATALOGUE, PublishedFile

if TYPE_CHECKING:
    from types import ModuleType

#: Weights in one file or in several with their index, of transformers or of open_clip.
_ENCODER_FILES: Final = ("config.json", "model*.safetensors*", "pytorch_model*.bin*", "open_clip_pytorch_model.bi[n]")
_TOKENIZER_FILES: Final = ("vocab.*", "merges.*", "tokenizer*.json")


def fetch(name: str, *, out: Path, include: Sequence[str] = ()) -> tuple[Path, ...]:
    """Download what the catalogue calls `name` into `out`; files that are there already are not fetched again.

    Args:
        name: a key of `CATALOGUE`.
        out: a folder; the repository's own paths are kept below it.
        include: paths or patterns of the repository, instead of the catalogue's.

    Raises:
        InputError: no such name, or the user must say which files and does not, or no file fits.
        FetchFailed: refused (terms, account), or broken off; says which.
        ExtraMissing: huggingface_hub is not installed.
    """
    if name not in CATALOGUE:
        raise InputError(f"{name} is not in the catalogue; it has {', '.join(CATALOGUE)}", hint="Give one of these names.")
    entry = CATALOGUE[name]
    if not entry.repository:
        raise InputError(f"{name} is not on huggingface.co", hint=f"Download it from {entry.address}.")
    patterns = tuple(include) or entry.files
    if not patterns:
        raise InputError(
            f"{name} is too large to be fetched whole ({entry.size})",
            hint="Say which files with --include, for example --include 'dataset/valid_fixed/valid_1/*'.",
        )
    return _download(entry, patterns, out)


def fetch_tokenizer(repository: str, *, out: Path) -> Path:
    """Download the tokenizer files of a hub's model owner/name into `out`; no code of it, and no weights.

    Raises:
        FetchFailed, ExtraMissing: as `fetch`.
    """
    entry = PublishedFile(name=repository, purpose="tokenizer", repository=repository, repo_type="model")
    _download(entry, _TOKENIZER_FILES, out)
    return out


def fetch_encoder(repository: str, *, out: Path) -> Path:
    """Download a hub's text encoder owner/name into `out`, unless it is there: description, weights and tokenizer, and no code.

    One process downloads, and others that ask for it meanwhile wait: ranks of a run. `out` exists once all is in it, and from then on
    nothing is asked of the hub, which a node of a cluster may not reach.

    Raises:
        FetchFailed, ExtraMissing: as `fetch`.
    """
    entry = PublishedFile(name=repository, purpose="text encoder", repository=repository, repo_type="model")
    with exclusive_lock(out.parent, refusal=FetchFailed, detail="another process downloads it", name=f".{out.name}.lock", wait=True):
        if not out.exists():
            part = out.with_name(f".{out.name}.part")
            _download(entry, (*_ENCODER_FILES, *_TOKENIZER_FILES), part)
            part.rename(out)
    return out


def _download(entry: PublishedFile, patterns: Sequence[str], out: Path) -> tuple[Path, ...]:
    hub = _hub()
    errors = hub.errors
    where = {"repo_id": entry.repository, "repo_type": entry.repo_type}
    # HF_ENDPOINT names a mirror; the library reads it once, when it is imported.
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        names: Iterable[str] = patterns
        if any(set(pattern) & set("*?[") for pattern in patterns):
            listing = hub.HfApi(endpoint=endpoint).list_repo_files(**where)
            names = [name for name in listing if any(fnmatchcase(name, pattern) for pattern in patterns)]
        paths = tuple(Path(hub.hf_hub_download(filename=name, local_dir=out, endpoint=endpoint, **where)) for name in names)
    except (errors.GatedRepoError, errors.RepositoryNotFoundError) as error:
        raise FetchFailed(
            f"the hub does not give {entry.repository} to this account",
            hint=f"Accept the terms on {entry.address} if it has any, then run `hf auth login` (or set HF_TOKEN) and fetch again.",
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise FetchFailed(f"{entry.repository} has no such file any more", hint=f"Look for it on {entry.address}.") from error
    except errors.HFValidationError as error:
        raise InputError(f"{entry.repository} is no name of a repository", hint="Give owner/name, or a folder that exists.") from error
    except (errors.HTTPError, errors.LocalEntryNotFoundError, errors.FileMetadataError, OSError, ValueError) as error:
        detail = f"the download broke off ({type(error).__name__}: {str(error).strip().splitlines()[0][:160] if str(error) else ''})"
        raise FetchFailed(
            detail, hint="Check the network and the free space, then run it again: files that came whole are kept."
        ) from error
    if not paths:
        raise InputError(f"no file of {entry.repository} fits {', '.join(patterns)}"[:300], hint=f"Look at {entry.address}.")
    return paths


def _hub() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ExtraMissing("huggingface_hub is not installed", hint="Install it with `pip install 'thoracle[hub]'`.") from error
    return huggingface_hub
