"""Every error a user can cause, in one tree; this module knows nothing of scans, models or the terminal.

ThoracleError
├── InputError                 an argument that makes no sense, before any file is opened
├── ScanError                  a scan that is not read
│   ├── ScanUnreadable         the system would not give the bytes (permissions, a failing disk)
│   ├── UnsupportedFormat      not a format Thoracle reads (MetaImage, text, an unknown transfer syntax)
│   ├── CorruptFile            the bytes contradict themselves
│   │   ├── TruncatedFile      fewer bytes than the header promises
│   │   └── BudgetExceeded     more bytes, members or memory than a scan may take; bombs end here
│   ├── UnsafeArchive          an archive member that is a link or points outside the archive
│   ├── NotCT                  MR, PET, segmentation, colour, complex, a time series: not one CT volume
│   ├── SeriesAmbiguous        more than one series could be meant
│   ├── GeometryError
│   │   ├── GeometryUnknown    the file does not say where its voxels are
│   │   ├── GeometryInvalid    NaN, zero, singular or contradictory geometry
│   │   ├── GantryTilt         slices sheared against their normal
│   │   ├── SliceGap           slices missing, or steps unlike
│   │   ├── DuplicateSlices    several slices at one position
│   │   ├── MixedSeries        slices of unlike orientation, size or spacing in one series
│   │   ├── ObliqueGeometry    turned further from the body's axes than is resampled
│   │   └── TooFewSlices
│   ├── HounsfieldError
│   │   ├── HounsfieldUnknown  it cannot be told whether, or how, voxels become Hounsfield units
│   │   └── RescaleMissing     a DICOM CT without RescaleSlope and RescaleIntercept
│   ├── VoxelsInvalid          NaN or infinite voxels
│   └── OutsideIntendedUse     readable, but not what the model was made for (only with --strict)
├── MetadataError              a metadata table or row that cannot be used
├── ModelError                 a checkpoint or model folder that is not used
│   ├── CheckpointUnsafe       a pickle that would run code
│   ├── CheckpointDamaged      bytes that contradict themselves, more of them than a checkpoint may take, weights that are not numbers
│   ├── CheckpointUnknown      keys of no published model
│   ├── CheckpointIncomplete   keys missing, left over or of the wrong shape
│   ├── ModelFolderInvalid     config.json or model.safetensors missing, damaged or of another version
│   ├── TokenizerMissing       words cannot be read without the model's own tokenizer
│   └── CapabilityMissing      this kind of model cannot do what was asked
├── CohortError                a cohort that is not prepared or not used
│   ├── LayoutMismatch         the folder holds nothing of the layout that was named
│   ├── SplitLeak              one patient, or one scan, in two splits
│   ├── CohortUnfinished       preparation was not begun or not finished
│   └── CacheDamaged           a cached volume that is not what was written
├── SearchError                an index that is not made, not used or not changed
│   ├── IndexMissing           there is none
│   ├── IndexMismatch          its vectors are of another model or preprocessing
│   ├── IndexDamaged           its database is not what was written
│   ├── IndexBusy              another process is at it
│   └── IndexUnwritable        the disk is full or fails; the index is as it was
├── TrainingDiverged           a loss or gradient that is no number
├── OutputConflict             an output that exists and was not made by this run
├── FetchFailed                a download that was refused or broke off
├── EndpointFailed             a language model's server that is not there, or refuses
├── WorkerKilled               a worker process that ended at its work, most often for its memory
└── ExtraMissing               an optional dependency, with the line that installs it
"""

from __future__ import annotations

from pathlib import Path


class ThoracleError(Exception):
    """What was expected and what came (`fact`), how to mend it (`cure`), and where (`source`: a file or field).

    >>> str(TruncatedFile("needs 740,000 bytes of voxels, has 433,000", cure="Copy the file again.", source="scan.nii"))
    'scan.nii: needs 740,000 bytes of voxels, has 433,000. Copy the file again.'
    """

    def __init__(self, fact: str, *, cure: str, source: str | Path | None = None) -> None:
        self.fact = fact.rstrip(".")
        self.cure = cure
        self.source = None if source is None else str(source)
        where = "" if self.source is None else f"{self.source}: "
        super().__init__(f"{where}{self.fact}. {cure}".rstrip())

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.fact, self.cure, self.source))

    def without_source(self) -> str:
        """The first line without the path, for files that are written out: a path can name a patient, a list of series its UIDs."""
        return f"{self.fact}. {self.cure}".split("\n", maxsplit=1)[0].rstrip()


class InputError(ThoracleError):
    """An argument that makes no sense, before any file is opened."""


class ScanError(ThoracleError):
    """A scan that is not read."""


class ScanUnreadable(ScanError):
    """The system would not give the bytes."""


class UnsupportedFormat(ScanError):
    """Not a format Thoracle reads."""


class CorruptFile(ScanError):
    """The bytes contradict themselves."""


class TruncatedFile(CorruptFile):
    """Fewer bytes than the header promises."""


class BudgetExceeded(CorruptFile):
    """More bytes, members or memory than a scan may take."""


class UnsafeArchive(ScanError):
    """An archive member that is a link or points outside the archive."""


class NotCT(ScanError):
    """Not one CT volume."""


class SeriesAmbiguous(ScanError):
    """More than one series could be meant; the message lists them."""


class GeometryError(ScanError):
    """Voxels whose places in the body cannot be trusted."""


class GeometryUnknown(GeometryError):
    """The file does not say where its voxels are."""


class GeometryInvalid(GeometryError):
    """NaN, zero, singular or contradictory geometry."""


class GantryTilt(GeometryError):
    """Slices sheared against their normal."""


class SliceGap(GeometryError):
    """Slices missing, or steps unlike."""


class DuplicateSlices(GeometryError):
    """Several slices at one position."""


class MixedSeries(GeometryError):
    """Slices of unlike orientation, size or spacing in one series."""


class ObliqueGeometry(GeometryError):
    """Turned further from the body's axes than is resampled."""


class TooFewSlices(GeometryError):
    """Fewer slices than a volume needs."""


class HounsfieldError(ScanError):
    """Voxels whose Hounsfield units cannot be trusted."""


class HounsfieldUnknown(HounsfieldError):
    """It cannot be told whether, or how, voxels become Hounsfield units."""


class RescaleMissing(HounsfieldError):
    """A DICOM CT without RescaleSlope and RescaleIntercept."""


class VoxelsInvalid(ScanError):
    """NaN or infinite voxels."""


class OutsideIntendedUse(ScanError):
    """Readable, but not what the model was made for."""


class MetadataError(ThoracleError):
    """A metadata table or row that cannot be used."""


class ModelError(ThoracleError):
    """A checkpoint or model folder that is not used."""


class CheckpointUnsafe(ModelError):
    """A pickle that would run code."""


class CheckpointDamaged(ModelError):
    """Bytes that contradict themselves, more of them than a checkpoint may take, or weights that are not finite."""


class CheckpointUnknown(ModelError):
    """Keys of no published model."""


class CheckpointIncomplete(ModelError):
    """Keys missing, left over or of the wrong shape."""


class ModelFolderInvalid(ModelError):
    """config.json or model.safetensors missing, damaged or of another version."""


class TokenizerMissing(ModelError):
    """Words cannot be read without the model's own tokenizer."""


class CapabilityMissing(ModelError):
    """This kind of model cannot do what was asked."""


class SearchError(ThoracleError):
    """An index that is not made, not used or not changed."""


class IndexMissing(SearchError):
    """There is no index."""


class IndexMismatch(SearchError):
    """Vectors of another model or preprocessing."""


class IndexDamaged(SearchError):
    """A database that is not what was written."""


class IndexBusy(SearchError):
    """Another process is at the index."""


class IndexUnwritable(SearchError):
    """The disk is full or fails; the index is as it was."""


class TrainingDiverged(ThoracleError):
    """A loss or gradient that is no number."""


class CohortError(ThoracleError):
    """A cohort that is not prepared or not used."""


class LayoutMismatch(CohortError):
    """The folder holds nothing of the layout that was named."""


class SplitLeak(CohortError):
    """One patient, or one scan, in two splits."""


class CohortUnfinished(CohortError):
    """Preparation was not begun or not finished."""


class CacheDamaged(CohortError):
    """A cached volume that is not what was written."""


class OutputConflict(ThoracleError):
    """An output that exists and was not made by this run."""


class FetchFailed(ThoracleError):
    """A download that was refused or broke off."""


class EndpointFailed(ThoracleError):
    """A language model's server that is not there, or refuses."""


class WorkerKilled(ThoracleError):
    """A worker process that ended at its work, most often for its memory."""


class ExtraMissing(ThoracleError):
    """An optional dependency is absent."""


def _rebuild(kind: type[ThoracleError], fact: str, cure: str, source: str | None) -> ThoracleError:
    """Errors cross process borders (the decoding worker, the loader); keyword arguments need a hand."""
    return kind(fact, cure=cure, source=source)
