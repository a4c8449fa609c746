"""Open an index by its location: a folder, or a collection on a Qdrant server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from thoracle.errors import ExtraMissing, IndexMissing, InputError
from thoracle.search.backend import IndexBackend
from thoracle.search.local.index import LocalIndex, TextEncoder, open_for_writing
from thoracle.search.qdrant.index import QdrantIndex

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_SCHEMES: Final = ("http", "https", "qdrant")
_KEY: Final = "QDRANT_API_KEY"
_REPORTS: Final = "reports"


def is_url(location: str) -> bool:
    """Tell whether this is http(s)://HOST:PORT/NAME, or qdrant:FOLDER/NAME, the client's local mode, to try a server without one."""
    return urlsplit(location).scheme in _SCHEMES


@contextmanager
def open_index(location: str) -> Iterator[IndexBackend]:
    """Open an index for reading.

    Raises:
        IndexMissing: there is none.
        ExtraMissing: it is on a server, and Qdrant's client is not there.
    """
    if is_url(location):
        with _client(location) as (client, collection):
            yield QdrantIndex(client, collection)
    else:
        index = LocalIndex(Path(location))
        try:
            yield index
        finally:
            index.close()


@contextmanager
def open_index_for_writing(
    location: str, settings: Mapping[str, Any] | None = None, *, lists: bool | None = None, texts: TextEncoder | None = None
) -> Iterator[IndexBackend]:
    """Open an index for writing too; create one where `settings` are given. `lists` and `texts` are as in `open_for_writing`.

    Raises:
        As `open_index`, and:
        IndexMismatch: it was begun with other settings.
        IndexBusy: another process is changing it.
        ErasurePending: as `open_for_writing`.
    """
    if not is_url(location):
        with open_for_writing(Path(location), settings, lists=lists, texts=texts) as index:
            yield index
        return
    with _client(location) as (client, collection):
        yield QdrantIndex(client, collection) if settings is None else QdrantIndex.create_or_open(client, collection, settings)


def reports_location(location: str) -> str:
    """Return where the reports of an index are indexed: a folder in its folder, or a collection beside its collection."""
    return f"{location.rstrip('/')}-{_REPORTS}" if is_url(location) else str(Path(location) / _REPORTS)


@contextmanager
def open_reports(location: str, *, write: bool = False) -> Iterator[IndexBackend | None]:
    """Open the reports of an index, for reading or for writing too; None where it has none. Raises as `open_index_for_writing`."""
    address = reports_location(location)
    reports: IndexBackend | None = None
    with ExitStack() as stack:
        with suppress(IndexMissing):
            reports = stack.enter_context(open_index_for_writing(address) if write else open_index(address))
        yield reports


@contextmanager
def _client(location: str) -> Iterator[tuple[QdrantClient, str]]:
    """A client and the collection's name; a folder of the local mode, which is opened once, is shared with whoever has it open."""
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise ExtraMissing("an index on a server needs Qdrant's client", hint="pip install 'thoracle[qdrant]'.") from error
    parts = urlsplit(location)
    above, _, collection = parts.path.rstrip("/").rpartition("/")
    if not collection or (parts.scheme == "qdrant" and not above):
        raise InputError("expected http://HOST:6333/NAME", hint="Name the collection after the last slash.", source=location)
    is_folder = parts.scheme == "qdrant"
    if is_folder and above in _folders:
        yield _folders[above], collection
        return
    url = f"{parts.scheme}://{parts.netloc}{above}"
    if is_folder:
        client = _folders[above] = QdrantClient(path=above)
    else:
        client = QdrantClient(url=url, api_key=os.environ.get(_KEY), timeout=60, check_compatibility=False)
    try:
        yield client, collection
    finally:
        if is_folder:
            del _folders[above]
        client.close()


#: Folders of the local mode that are open, with their clients.
_folders: dict[str, QdrantClient] = {}
