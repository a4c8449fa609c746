"""Define every error a user can cause, in one tree; a class's docstring says what happened, then what to do.

ThoracleError
├── InputError                 an argument that makes no sense, before any file is opened
├── ScanError                  a scan that is not read
│   ├── ScanUnreadable         the system would not give the bytes (permissions, a failing disk)
│   ├── UnsupportedFormat      not a format Thoracle reads (text, a list of slices, an unknown transfer syntax)
│   ├── CorruptFile            the bytes contradict themselves
│   │   ├── TruncatedFile      fewer bytes than the header promises
│   │   ├── CodecCrashed       the decoder's process died at the compressed pixels
│   │   └── BudgetExceeded     more bytes, members or memory than a scan may take; bombs end here
│   ├── UnsafeArchive          an archive member that is a link or points outside the archive
│   ├── NotCT                  MR, PET, segmentation, colour, complex, a time series: not one CT volume
│   ├── SeriesAmbiguous        more than one series could be meant
│   ├── GeometryError
│   │   ├── GeometryUnknown    the file does not say where its voxels are
│   │   ├── GeometryInvalid    NaN, zero, singular, sheared or contradictory geometry
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
│   └── AnswerFailed           one answer that was refused, broke off or fell silent
│       └── AnswerIncomplete   an answer that ended at its limit of tokens, was only thought, or holds no words
├── WorkerKilled               a worker process that ended at its work, most often for its memory
└── ExtraMissing               an optional dependency, with the line that installs it
"""

from __future__ import annotations

from pathlib import Path


class ThoracleError(Exception):
    """Report what was expected and what came (`detail`), how to mend it (`hint`), and where (`source`: a file or field).

    >>> str(TruncatedFile("needs 740,000 bytes of voxels, has 433,000", hint="Copy the file again.", source="scan.nii"))
    'scan.nii: needs 740,000 bytes of voxels, has 433,000. Copy the file again.'
    """

    def __init__(self, detail: str, *, hint: str, source: str | Path | None = None) -> None:
        self.detail = detail.rstrip(".")
        self.hint = hint
        self.source = None if source is None else str(source)
        where = "" if self.source is None else f"{self.source}: "
        super().__init__(f"{where}{self.detail}. {hint}".rstrip())

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.detail, self.hint, self.source))

    def redacted(self) -> str:
        """Return the first line without the path, for files that are written out: a path can name a patient, a list of series its UIDs."""
        return f"{self.detail}. {self.hint}".split("\n", maxsplit=1)[0].rstrip()


class InputError(ThoracleError):
    """Argument that makes no sense, found before any file is opened. Correct the argument, option or setting that the message names."""


class ScanError(ThoracleError):
    """Scan that is not read. Leave the scan out, or give another export of it."""


class ScanUnreadable(ScanError):
    """Bytes that the system would not give. Check that the file exists, that you may read it, and the disk."""


class UnsupportedFormat(ScanError):
    """Format that Thoracle does not read. Export the scan as NIfTI, NRRD, MetaImage or DICOM."""


class CorruptFile(ScanError):
    """Bytes that contradict themselves. Copy or export the file again."""


class TruncatedFile(CorruptFile):
    """Fewer bytes than the header promises. Copy the file again."""


class CodecCrashed(CorruptFile):
    """Compressed pixels at which the decoder's process died. Try it again; if it dies again, export the series uncompressed."""


class BudgetExceeded(CorruptFile):
    """More bytes, members or memory than a scan may take. Do not trust the file; export the series again."""


class UnsafeArchive(ScanError):
    """Archive member that is a link or points outside the archive. Unpack it, and give the folder of the files themselves."""


class NotCT(ScanError):
    """Images that are not one CT volume. Give the CT series itself."""


class SeriesAmbiguous(ScanError):
    """More than one series could be meant; the message lists them. Choose one with --series."""


class GeometryError(ScanError):
    """Voxels whose places in the body cannot be trusted. Export the whole series again from its source."""


class GeometryUnknown(GeometryError):
    """File that does not say where its voxels are. Give the scan's row with --metadata, or the folder of its series."""


class GeometryInvalid(GeometryError):
    """NaN, zero, singular, sheared or contradictory geometry. Export the series again."""


class GantryTilt(GeometryError):
    """Slices sheared against their normal. Resample the slices upright with another tool (dcm2niix does), or take an untilted series."""


class SliceGap(GeometryError):
    """Slices missing, or steps unlike. Give the whole series."""


class DuplicateSlices(GeometryError):
    """Several slices at one position. Remove copies; export each phase or reconstruction by itself."""


class MixedSeries(GeometryError):
    """Slices of unlike orientation, size or spacing in one series. Give one series."""


class ObliqueGeometry(GeometryError):
    """Turned further from the body's axes than is resampled. Resample the scan along the body's axes."""


class TooFewSlices(GeometryError):
    """Fewer slices than a volume needs. Give the whole series, or lower --min-slices."""


class HounsfieldError(ScanError):
    """Voxels whose Hounsfield units cannot be trusted. State the units with --hu or --metadata."""


class HounsfieldUnknown(HounsfieldError):
    """Voxels that cannot be told to be Hounsfield units, or how they become such. State the units with --hu or --metadata."""


class RescaleMissing(HounsfieldError):
    """DICOM CT without RescaleSlope and RescaleIntercept. State the units with --hu."""


class VoxelsInvalid(ScanError):
    """NaN or infinite voxels. Export the scan again."""


class OutsideIntendedUse(ScanError):
    """Readable, but not what the model was made for. Leave --strict out to go on with a warning."""


class MetadataError(ThoracleError):
    """Metadata table or row that cannot be used. Save the table again as CSV in UTF-8, with the columns that the message names."""


class ModelError(ThoracleError):
    """Checkpoint or model folder that is not used. Import or train the model again."""


class CheckpointUnsafe(ModelError):
    """Pickle that would run code. Do not open it; ask for a state dict or safetensors."""


class CheckpointDamaged(ModelError):
    """Bytes that contradict themselves, more than a checkpoint may take, or weights that are not finite. Copy or fetch the file again."""


class CheckpointUnknown(ModelError):
    """Keys of no published model. Give the state dict of a model that `thoracle import` lists."""


class CheckpointIncomplete(ModelError):
    """Keys missing, left over or of the wrong shape. Give the whole state dict, unchanged."""


class ModelFolderInvalid(ModelError):
    """config.json or model.safetensors missing, damaged or of another version. Import or train it again."""


class TokenizerMissing(ModelError):
    """Words cannot be read without the model's own tokenizer. Fetch the one that the message names, and import again with --tokenizer."""


class CapabilityMissing(ModelError):
    """Request that this kind of model cannot fulfil. Give another model, or ask what this one can do."""


class SearchError(ThoracleError):
    """Index that is not made, not used or not changed. Check the index with `thoracle index check`."""


class IndexMissing(SearchError):
    """There is no index. Make one with `thoracle index`."""


class IndexMismatch(SearchError):
    """Vectors of another model or preprocessing. Give the model that the index was made with, or make the index anew."""


class IndexDamaged(SearchError):
    """Database that is not what was written. Make the index anew."""


class IndexBusy(SearchError):
    """Another process is at the index. Wait for the other process."""


class IndexUnwritable(SearchError):
    """Disk that is full or fails; the index is as it was. Make room on the disk, then give the command again."""


class TrainingDiverged(ThoracleError):
    """Loss or gradient that is no number. Look at the samples that the message names, or lower the learning rate; --resume goes on."""


class CohortError(ThoracleError):
    """Cohort that is not prepared or not used. Prepare the cohort again with `thoracle prepare`."""


class LayoutMismatch(CohortError):
    """Folder that holds nothing of the requested layout. Give another folder or another --layout."""


class SplitLeak(CohortError):
    """Patient or scan in two splits. Take one of them away, or put both into one split."""


class CohortUnfinished(CohortError):
    """Preparation was not begun or not finished. Run `thoracle prepare` with the same --out again."""


class CacheDamaged(CohortError):
    """Cached volume that is not what was written. Run `thoracle prepare --verify`: it reads what is damaged again."""


class OutputConflict(ThoracleError):
    """Output that exists and was not made by this run. Give another --out, or the settings of that run."""


class FetchFailed(ThoracleError):
    """Download that was refused or broke off. Look at the address that the message names; accept its terms, or fetch again."""


class EndpointFailed(ThoracleError):
    """Language model's server that is absent or refuses. Check the server, its address, the model's name and the key."""


class AnswerFailed(EndpointFailed):
    """One answer that was refused, broke off or fell silent. Ask again, or ask for less; other answers of the server may be whole."""


class AnswerIncomplete(AnswerFailed):
    """Answer that ended at its limit of tokens, was only thought, or holds no words. Give a larger --max-tokens, or another model."""


class WorkerKilled(ThoracleError):
    """Worker process that was killed, most often for its memory. Run it again with fewer --workers; what is done is kept."""


class ExtraMissing(ThoracleError):
    """Optional dependency that is absent. Install it with the line that the message gives."""


def _rebuild(kind: type[ThoracleError], detail: str, hint: str, source: str | None) -> ThoracleError:
    """Errors cross process borders (the decoding worker, the loader); keyword arguments need a hand."""
    return kind(detail, hint=hint, source=source)
