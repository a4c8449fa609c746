"""Names that do not tell whose scan it is: a keyed hash, with a key that stays at the site.

Without the key nobody can compute which patient a pseudonym stands for; with it the site can, by hashing its own numbers again.
"""

from __future__ import annotations

import errno
import hmac
import os
import secrets
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from thoracle.cohort.demographics import coarsened
from thoracle.cohort.sources import VolumeSource
from thoracle.errors import InputError
from thoracle.files.atomic import TEMPORARY

#: Layouts whose names come from a hospital, and are covered by pseudonyms; published archives have done so.
PSEUDONYMIZED_LAYOUTS: Final = ("dicom", "folder")
_KEY_BYTES: Final = 32
_NO_LINKS: Final = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@dataclass(frozen=True, kw_only=True)
class SiteKey:
    """Hold 32 secret bytes; `fingerprint` tells keys apart without revealing the key."""

    secret: bytes = field(repr=False)

    @classmethod
    def open(cls, path: Path, *, outside: Path) -> SiteKey:
        """Read the key, or make one that only its owner can read; of several processes that make it at once, all read the first one's.

        Args:
            path: the key file.
            outside: the cohort's folder, which is passed on and must not hold the key.

        Raises:
            InputError: it lies inside, is no key, or cannot be made there.
        """
        _require_outside(path, outside)
        if not path.exists():
            _make(path)
        return cls.load(path, outside=outside)

    @classmethod
    def load(cls, path: Path, *, outside: Path) -> SiteKey:
        """Read the key, and make none.

        Args:
            path: the key file.
            outside: as for `open`.

        Raises:
            InputError: it is absent, lies inside, or is no key.
        """
        _require_outside(path, outside)
        if not path.exists():
            raise InputError("no such file", hint="Give the site's key.", source=path)
        try:
            secret = bytes.fromhex(path.read_text("ascii"))
        except ValueError:
            secret = b""
        if len(secret) != _KEY_BYTES:
            raise InputError("is not a site key", hint="Give the key of this site, or a name for a new one.", source=path)
        return cls(secret=secret)

    @property
    def fingerprint(self) -> str:
        """Return eight digits that are alike for the same key."""
        return self._hash("fingerprint", "", 8)

    def pseudonymize(self, source: VolumeSource) -> VolumeSource:
        """Return the source under pseudonyms PATIENT, PATIENT_SCAN, PATIENT_SCAN_VOLUME, with an accession of its own and coarsened
        facts.
        """
        patient = self.patient(source.patient) if source.patient else ""
        scan = f"{patient}_{self._hash('scan', source.scan, 8)}"
        return replace(
            source,
            patient=patient,
            scan=scan,
            volume=f"{scan}_{self._hash('volume', source.volume, 8)}",
            accession=self.accession(source.accession) if source.accession else scan,
            facts=coarsened(source.facts),
        )

    def patient(self, name: str) -> str:
        """Pseudonymize a patient's number, as `pseudonymize` does."""
        return self._hash("patient", name, 12)

    def accession(self, name: str) -> str:
        """Pseudonymize an accession number, as `pseudonymize` does."""
        return self._hash("accession", name, 12)

    def endings(self, name: str) -> tuple[str, str]:
        """Return the endings that pseudonyms of a scan and of a volume of this name have, whoever the patient is."""
        return f"_{self._hash('scan', name, 8)}", f"_{self._hash('volume', name, 8)}"

    def _hash(self, kind: str, name: str, digits: int) -> str:
        return hmac.new(self.secret, f"{kind}\0{name}".encode(), sha256).hexdigest()[:digits]


def _require_outside(path: Path, folder: Path) -> None:
    if path.resolve().is_relative_to(folder.resolve()):
        raise InputError("the site key lies in the cohort's folder", hint="Keep it elsewhere (--site-key).", source=path)


def _make(path: Path) -> None:
    """Write a new key beside and link it: whoever is first wins, and nobody reads half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        detail = f"a new key cannot be made there ({error.strerror}: its file system has no hard links)"
        raise InputError(detail, hint="Make it on another disk (--site-key), and move it there.", source=path) from error
    finally:
        temporary.unlink(missing_ok=True)


def default_key_file() -> Path:
    """Return the path `THORACLE_SITE_KEY`, or site.key in the user's configuration folder, without creating it."""
    chosen = os.environ.get("THORACLE_SITE_KEY")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "thoracle" / "site.key"
