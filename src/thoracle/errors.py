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
│   ├── IndexUnwritable        the disk is full or fails; the index is as it was
│   └── ErasurePending         what was deleted is not found any more, but bytes of it could not be erased
├── TrainingDiverged           a loss or gradient that is no number
├── TrainingStopped            a run that a signal asked to end, and whose state is saved
├── OutputConflict             an output that exists and was not made by this run
├── FetchFailed                a download that was refused or broke off
├── EndpointFailed             a language model's server that is not there, or refuses
│   └── AnswerFailed           one answer that was refused, broke off or fell silent
│       └── AnswerIncomplete   an answer that ended at its limit of tokens, was only thought, or holds no words
├── ServingError               a request that `thoracle serve` does not carry out
│   ├── AccessDenied           no valid token, or a page or a host that is not allowed
│   ├── UnknownId              nothing is, or is any more, under this id
│   ├── NotReady               asked for before it is there
│   ├── ServerFull             the queue, the disk or the number of open scans is at its limit
│   ├── JobCancelled           a job that was cancelled
│   ├── JobLimitExceeded       a job that took more time or memory than one may
│   └── JobLost                a job that a stopped server did not finish
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
    """Argument that makes no sense, found before any file is opened. Correct the argument, option or setting that the message names.

    Example: `--shard 5/3`, or a path that does not exist.
    """


class ScanError(ThoracleError):
    """Scan that is not read. Leave the scan out, or give another export of it."""


class ScanUnreadable(ScanError):
    """Bytes that the system would not give. Check that the file exists, that you may read it, and the disk.

    Example: a slice that belongs to another user, or lies on a share that is no longer mounted.
    """


class UnsupportedFormat(ScanError):
    """Format that Thoracle does not read. Export the scan as NIfTI, NRRD, MetaImage or DICOM.

    Example: a text or a photograph that is called scan.nii.gz, or DICOM compressed as a video.
    """


class CorruptFile(ScanError):
    """Bytes that contradict themselves. Copy or export the file again.

    Example: a DICOM slice that declares 17 stored bits in 16.
    """


class TruncatedFile(CorruptFile):
    """Fewer bytes than the header promises. Copy the file again.

    Example: a NIfTI of which a broken download left the first half.
    """


class CodecCrashed(CorruptFile):
    """Compressed pixels at which the decoder's process died. Try it again; if it dies again, export the series uncompressed.

    Example: a JPEG 2000 slice with damage that ends OpenJPEG instead of being told by it.
    """


class BudgetExceeded(CorruptFile):
    """More bytes, members or memory than a scan may take. Do not trust the file; export the series again.

    Example: a .zip of 70 KB whose one member inflates to 70 MB of zeros.
    """


class UnsafeArchive(ScanError):
    """Archive member that is a link or points outside the archive. Unpack it, and give the folder of the files themselves.

    Example: a .zip with a member called ../../slice.dcm.
    """


class NotCT(ScanError):
    """Images that are not one CT volume. Give the CT series itself.

    Example: an MR series, or a segmentation.
    """


class SeriesAmbiguous(ScanError):
    """More than one series could be meant; the message lists them. Choose one with --series.

    Example: a study's folder with a soft and a sharp reconstruction, or two phases under one SeriesInstanceUID.
    """


class GeometryError(ScanError):
    """Voxels whose places in the body cannot be trusted. Export the whole series again from its source."""


class GeometryUnknown(GeometryError):
    """File that does not say where its voxels are. Give the scan's row with --metadata, or the folder of its series.

    Example: slices from which an anonymiser took ImagePositionPatient, or a NIfTI whose affine is the identity.
    """


class GeometryInvalid(GeometryError):
    r"""NaN, zero, singular, sheared or contradictory geometry. Export the series again.

    Example: a PixelSpacing of 0.7\O.7, with a letter for the zero.
    """


class GantryTilt(GeometryError):
    """Slices sheared against their normal. Resample the slices upright with another tool (dcm2niix does), or take an untilted series.

    Example: a series taken with the gantry tilted by 15 degrees.
    """


class SliceGap(GeometryError):
    """Slices missing, or steps unlike. Give the whole series.

    Example: a series of which the transfer lost one slice.
    """


class DuplicateSlices(GeometryError):
    """Several slices at one position. Remove copies; export each phase or reconstruction by itself.

    Example: two exports of one series in one folder, the second with new SOPInstanceUIDs.
    """


class MixedSeries(GeometryError):
    """Slices of unlike orientation, size or spacing in one series. Give one series.

    Example: a few axial slices and a coronal image under one SeriesInstanceUID.
    """


class ObliqueGeometry(GeometryError):
    """Turned further from the body's axes than is resampled. Resample the scan along the body's axes.

    Example: a NIfTI turned by 40 degrees about the body's axis.
    """


class TooFewSlices(GeometryError):
    """Fewer slices than a volume needs. Give the whole series, or lower --min-slices.

    Example: a folder of five slices.
    """


class HounsfieldError(ScanError):
    """Voxels whose Hounsfield units cannot be trusted. State the units with --hu or --metadata."""


class HounsfieldUnknown(HounsfieldError):
    """Voxels that cannot be told to be Hounsfield units, or how they become such. State the units with --hu or --metadata.

    Example: voxels scaled to 0 to 1 for another network, or a series in mg/ml (RescaleType MGML).
    """


class RescaleMissing(HounsfieldError):
    """DICOM CT without RescaleSlope and RescaleIntercept. State the units with --hu.

    Example: slices that lost RescaleSlope in an export.
    """


class VoxelsInvalid(ScanError):
    """NaN or infinite voxels. Export the scan again.

    Example: a NIfTI in float32 with NaN outside the field of view.
    """


class OutsideIntendedUse(ScanError):
    """Readable, but not what the model was made for. Leave --strict out to go on with a warning.

    Example: `detect --strict` on an abdomen.
    """


class MetadataError(ThoracleError):
    """Metadata table or row that cannot be used. Save the table again as CSV in UTF-8, with the columns that the message names.

    Example: a metadata table without a row for the scan.
    """


class ModelError(ThoracleError):
    """Checkpoint or model folder that is not used. Import or train the model again."""


class CheckpointUnsafe(ModelError):
    """Pickle that would run code. Do not open it; ask for a state dict or safetensors.

    Example: a .pt file whose pickle calls os.system.
    """


class CheckpointDamaged(ModelError):
    """Bytes that contradict themselves, more than a checkpoint may take, or weights that are not finite. Copy or fetch the file again.

    Example: a .safetensors file that a full disk cut.
    """


class CheckpointUnknown(ModelError):
    """Keys of no published model. Give the state dict of a model that `thoracle import` lists.

    Example: the weights of another network, such as ResNet-50.
    """


class CheckpointIncomplete(ModelError):
    """Keys missing, left over or of the wrong shape. Give the whole state dict, unchanged.

    Example: CT-CLIP's image encoder without its text encoder.
    """


class ModelFolderInvalid(ModelError):
    """config.json or model.safetensors missing, damaged or of another version. Import or train it again.

    Example: a folder with config.json and without model.safetensors.
    """


class TokenizerMissing(ModelError):
    """Words cannot be read without the model's own tokenizer. Fetch the one that the message names, and import again with --tokenizer.

    Example: text for a model imported without --tokenizer.
    """


class CapabilityMissing(ModelError):
    """Request that this kind of model cannot fulfil. Give another model, or ask what this one can do.

    Example: `detect` with a model that has no text encoder and no classifier.
    """


class SearchError(ThoracleError):
    """Index that is not made, not used or not changed. Check the index with `thoracle index check`."""


class IndexMissing(SearchError):
    """There is no index. Make one with `thoracle index`.

    Example: `thoracle search` in a folder where no index was made.
    """


class IndexMismatch(SearchError):
    """Vectors of another model or preprocessing. Give the model that the index was made with, or make the index anew.

    Example: an index of one model, searched with another.
    """


class IndexDamaged(SearchError):
    """Database that is not what was written. Make the index anew.

    Example: an index.sqlite overwritten by another program.
    """


class IndexBusy(SearchError):
    """Another process is at the index. Wait for the other process.

    Example: two `thoracle index` into one folder at once.
    """


class IndexUnwritable(SearchError):
    """Disk that is full or fails; the index is as it was. Make room on the disk, then give the command again.

    Example: a disk that fills up while scans are added.
    """


class ErasurePending(SearchError):
    """Deleted records that nobody finds any more, but whose bytes a full disk keeps. Make room, then `thoracle index check` erases them.

    Example: `thoracle index delete` of a 6 MB index on a disk with 1 MB free.
    """


class TrainingDiverged(ThoracleError):
    """Loss or gradient that is no number. Look at the samples that the message names, or lower the learning rate; --resume goes on.

    Example: a learning rate of 1, after which the loss is NaN.
    """


class CohortError(ThoracleError):
    """Cohort that is not prepared or not used. Prepare the cohort again with `thoracle prepare`."""


class LayoutMismatch(CohortError):
    """Folder that holds nothing of the requested layout. Give another folder or another --layout.

    Example: `prepare --layout ct-rate` on a tree of DICOM.
    """


class SplitLeak(CohortError):
    """Patient or scan in two splits. Take one of them away, or put both into one split.

    Example: a patient whose first scan the table puts into train, and the second into valid.
    """


class CohortUnfinished(CohortError):
    """Preparation was not begun or not finished. Run `thoracle prepare` with the same --out again.

    Example: training on a folder in which `prepare` was stopped.
    """


class CacheDamaged(CohortError):
    """Cached volume that is not what was written. Run `thoracle prepare --verify`: it reads what is damaged again.

    Example: a cached volume that a copy over the network cut.
    """


class TrainingStopped(ThoracleError):
    """Run that a signal asked to end, as a scheduler does, and whose state is saved. Give the same command with `--resume`.

    Example: SIGTERM or SIGUSR1 to one rank. The command's exit status is 99, on which Grid Engine, and others where they are told so, start
    a job again.
    """


class OutputConflict(ThoracleError):
    """Output that exists and was not made by this run. Give another --out, or the settings of that run.

    Example: `detect --out` into a table that another model made.
    """


class FetchFailed(ThoracleError):
    """Download that was refused or broke off. Look at the address that the message names; accept its terms, or fetch again.

    Example: published weights whose terms were not accepted.
    """


class EndpointFailed(ThoracleError):
    """Language model's server that is absent or refuses. Check the server, its address, the model's name and the key.

    Example: `--llm` with an address at which no server listens.
    """


class AnswerFailed(EndpointFailed):
    """One answer that was refused, broke off or fell silent. Ask again, or ask for less; other answers of the server may be whole.

    Example: a server that is killed in the middle of a sentence, or refuses a prompt longer than its context.
    """


class AnswerIncomplete(AnswerFailed):
    """Answer that ended at its limit of tokens, was only thought, or holds no words. Give a larger --max-tokens, or another model.

    Example: a model that thinks for all of its 256 tokens.
    """


class ServingError(ThoracleError):
    """Request that `thoracle serve` does not carry out. Look at the class: each says what to do."""


class AccessDenied(ServingError):
    """No valid token, or a page or host that is not allowed. Open the address that `thoracle serve` printed, or give its token.

    Example: a request without `Authorization: Bearer TOKEN`.
    """


class UnknownId(ServingError):
    """Nothing under this id, or not any more. Open the scan again: uploads and results expire, and end with the server.

    Example: a scan that was opened before the server was started again.
    """


class NotReady(ServingError):
    """Something that is asked for before it is there. Wait for its job, or start it.

    Example: findings of a scan that nobody asked to be read.
    """


class ServerFull(ServingError):
    """Queue, disk or number of open scans at its limit. Try again after the seconds of `Retry-After`, or close scans.

    Example: the ninth job, where eight may wait.
    """


class JobCancelled(ServingError):
    """Job that was cancelled. Start it again if it is needed.

    Example: an answer that a person stopped.
    """


class JobLimitExceeded(ServingError):
    """Job that took more time or memory than one may. Give a smaller scan, or start the server with higher limits.

    Example: occlusion of 512 boxes by a large model on a slow machine.
    """


class JobLost(ServingError):
    """Job that a stopped or killed server did not finish. Open the scan again, and start it again.

    Example: findings that were being read when the machine lost power.
    """


class WorkerKilled(ThoracleError):
    """Worker process that was killed, most often for its memory. Run it again with fewer --workers; what is done is kept.

    Example: `prepare --workers 16` on a machine of 16 GB, whose system ends a worker.
    """


class ExtraMissing(ThoracleError):
    """Optional dependency that is absent. Install it with the line that the message gives.

    Example: `thoracle train` where PyTorch is not installed.
    """


def _rebuild(kind: type[ThoracleError], detail: str, hint: str, source: str | None) -> ThoracleError:
    """Errors cross process borders (the decoding worker, the loader); keyword arguments need a hand."""
    return kind(detail, hint=hint, source=source)
