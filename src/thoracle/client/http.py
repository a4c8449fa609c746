"""Ask a server by HTTP, and get typed answers or the library's own errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from thoracle.client.error_answers import to_error
from thoracle.client.forms.scans import (
    Axis,
    ChatRequest,
    FindingMap,
    MapRequest,
    Opinion,
    ScanDetail,
    ScanFindings,
    ScanList,
    ScanOpened,
    VerdictRequest,
)
from thoracle.client.forms.search import SearchAnswer, SearchQuery
from thoracle.client.forms.service import AnswerKind, ErrorBody, JobStatus, Method, ServerStatus
from thoracle.errors import ServingError

Form = TypeVar("Form")
_API: Final = "/api/v1"
#: Ends of names of headers, which name the file of their voxels.
_HEADERS: Final = (".mhd", ".nhdr", ".hdr")


class Client:
    """Ask one server.

    >>> with Client("http://127.0.0.1:8000", token=token) as client:  # doctest: +SKIP
    ...     scan = client.open_scan(Path("chest.nii.gz"))
    ...     print(client.findings(scan).findings[0])

    Args:
        address: of the server, without a path.
        token: that it printed, or was given.
        timeout: seconds that an answer may take; jobs are waited for as long as they take.
        transport: of httpx, in place of the network.
    """

    def __init__(self, address: str, *, token: str, timeout: float = 60.0, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Client:
        """Return this client."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close its connections."""
        self._http.close()

    def status(self) -> ServerStatus:
        """Return what is served."""
        return self._get("/status", ServerStatus)

    def open_scan(self, path: Path, *, wait: bool = True) -> str:
        """Send a file, or all files of a folder, and return the scan's id; by default once it is read.

        Beside a header (.mhd, .nhdr, .hdr) go the files of its folder that are called as it is but for the ending. Names of files are sent
        only where there is a header; the server does not keep them.

        Raises:
            ThoracleError: it was refused, as `thoracle.read` refuses it.
            OSError: it cannot be read here.
        """
        with ExitStack() as stack:
            root, files = (path, _files_below(path)) if path.is_dir() else (path.parent, _file_with_data(path))
            named = any(file.name.lower().endswith(_HEADERS) for file in files)
            names = [file.relative_to(root).as_posix() if named else f"{number}" for number, file in enumerate(files)]
            parts = [("files", (name, stack.enter_context(file.open("rb")))) for name, file in zip(names, files, strict=True)]
            opened = _convert(self._send("POST", "/scans", files=parts), ScanOpened)
        if wait:
            self.wait(opened.job)
        return opened.scan

    def scans(self) -> ScanList:
        """List open scans."""
        return self._get("/scans", ScanList)

    def scan(self, scan: str) -> ScanDetail:
        """Describe an open scan."""
        return self._get(f"/scans/{scan}", ScanDetail)

    def close_scan(self, scan: str) -> None:
        """Close a scan, and delete all that was made of it."""
        self._send("DELETE", f"/scans/{scan}")

    def findings(self, scan: str) -> ScanFindings:
        """Read the findings of a scan, or return them where they were read."""
        if self.scan(scan).findings is None:
            self._run(f"/scans/{scan}/findings")
        return self._get(f"/scans/{scan}/findings", ScanFindings)

    def agree(self, scan: str, finding: str, opinion: Opinion | None) -> None:
        """Keep whether a person agrees with a finding; None takes it back."""
        self._send("PUT", f"/scans/{scan}/verdicts/{quote(finding, safe='')}", json=asdict(VerdictRequest(verdict=opinion)))

    def map(self, scan: str, finding: str, *, method: Method | None = None) -> FindingMap:
        """Map where a finding is read."""
        self._run(f"/scans/{scan}/maps", json=asdict(MapRequest(finding=finding, method=method)))
        return self._get(f"/scans/{scan}/maps/{quote(finding, safe='')}", FindingMap)

    def map_nifti(self, scan: str, finding: str) -> bytes:
        """Return the `.nii.gz` of the last map of a finding."""
        return self._send("GET", f"/scans/{scan}/maps/{quote(finding, safe='')}.nii.gz").content

    def volume_nifti(self, scan: str, *, most: int = 256) -> bytes:
        """Return the `.nii.gz` of a scan with at most so many voxels along an axis."""
        return self._send("GET", f"/scans/{scan}/volume.nii.gz", params={"max": most}).content

    def slice_png(self, scan: str, axis: Axis, k: int, *, level: float = -600, width: float = 1500) -> bytes:
        """Return a PNG of a slice."""
        return self._send("GET", f"/scans/{scan}/slices/{axis}/{k}.png", params={"level": level, "width": width}).content

    def search(self, query: SearchQuery) -> SearchAnswer:
        """Find cases."""
        return _convert(self._send("POST", "/search", json=asdict(query)), SearchAnswer)

    def open_hit(self, hit: str) -> str:
        """Open the scan of a case that was found, and return its id once it is read."""
        opened = _convert(self._send("POST", f"/hits/{hit}/open"), ScanOpened)
        self.wait(opened.job)
        return opened.scan

    def ask(self, scan: str, question: str, *, task: AnswerKind = "long_answer", grounded: bool = False) -> Iterator[str]:
        """Yield the answer to a question about a scan in pieces, as they come.

        Raises:
            ThoracleError: the answer failed.
        """
        request = ChatRequest(scan=scan, question=question, task=task, grounded=grounded)
        for name, values in self._events("POST", "/chat", json=asdict(request)):
            if name == "error":
                raise to_error(msgspec.convert(values, ErrorBody))
            if name == "text":
                yield values["delta"]

    def job(self, job: str) -> JobStatus:
        """Say where a job stands."""
        return self._get(f"/jobs/{job}", JobStatus)

    def cancel(self, job: str) -> JobStatus:
        """Cancel a job."""
        return _convert(self._send("DELETE", f"/jobs/{job}"), JobStatus)

    def wait(self, job: str) -> JobStatus:
        """Wait until a job has ended.

        Raises:
            ThoracleError: it failed, or was cancelled.
        """
        status = self.job(job)
        for _, values in self._events("GET", f"/jobs/{job}/events"):
            status = msgspec.convert(values, JobStatus)
        if status.error is not None:
            raise to_error(status.error)
        return status

    def _run(self, path: str, **options: Any) -> None:
        self.wait(self._send("POST", path, **options).json()["job"])

    def _get(self, path: str, form: type[Form]) -> Form:
        return _convert(self._send("GET", path), form)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._http.request(method, _API + path, **options)
        _require(answer)
        return answer

    def _events(self, method: str, path: str, **options: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield server-sent events, each a name and its values."""
        with self._http.stream(method, _API + path, **options, headers={"Accept": "text/event-stream"}) as answer:
            if answer.is_error:
                answer.read()
            _require(answer)
            name = ""
            for line in answer.iter_lines():
                key, _, text = line.partition(": ")
                if key == "event":
                    name = text
                elif key == "data":
                    yield name, json.loads(text)


def _files_below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _file_with_data(path: Path) -> list[Path]:
    """List a file, and what may be its data file where it is a header."""
    if path.suffix.lower() not in _HEADERS:
        return [path]
    beside = (file for file in path.parent.iterdir() if file.is_file() and file.name.startswith(f"{path.stem}."))
    return [path, *sorted(file for file in beside if file != path and file.suffix.lower() not in _HEADERS)]


def _convert(answer: httpx.Response, form: type[Form]) -> Form:
    return msgspec.json.decode(answer.content, type=form)


def _require(answer: httpx.Response) -> None:
    """Raise the error that an answer describes."""
    if answer.is_success:
        return
    try:
        body = msgspec.convert(answer.json()["error"], ErrorBody)
    except (ValueError, KeyError, TypeError) as error:
        detail = f"the server answered {answer.status_code}, and not in Thoracle's form"
        raise ServingError(detail, hint="Check the address.") from error
    raise to_error(body)
