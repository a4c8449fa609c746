"""Word the options that several verbs take, once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

if TYPE_CHECKING:
    from thoracle.inference.batch.runner import ReadOptions

Units = Literal["auto", "stored", "rescale"]
Precision = Literal["float32", "bf16"]
SplitName = Literal["train", "dev", "valid", "test"]

Scans = Annotated[list[Path], typer.Argument(metavar="SCAN", help="Files, folders, or CSV tables with VolumeName or path.")]
ModelFolder = Annotated[
    Path | None,
    typer.Option(
        "--model", metavar="DIR", help="Model folder of `thoracle import`, or the catalogue's name of its file. The demo's by default."
    ),
]
Metadata = Annotated[Path | None, typer.Option(metavar="FILE", help="CT-RATE's metadata table, or a JSON file with one row.")]
Hu = Annotated[Units, typer.Option(help="Are voxels Hounsfield units (stored), or do slope and intercept apply (rescale)?")]
Series = Annotated[str | None, typer.Option(metavar="UID", help="SeriesInstanceUID, or a unique beginning, where a folder holds several.")]
MinSlices = Annotated[int, typer.Option(min=1, help="Fewest axial slices that are taken as a volume.")]
Uneven = Annotated[
    Literal["refuse", "resample"], typer.Option(help="DICOM slices whose distance changes: refuse, or resample linearly to the smallest.")
]
Encoding = Annotated[str, typer.Option(metavar="NAME", help="Of tables in CSV and JSON lines: utf-8, cp1252, cp1254, …")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse what the model was not made for, where a warning is the default.")]
Only = Annotated[
    Path | None, typer.Option("--only", metavar="FILE", help="List of the volumes to take, as `thoracle search --all --csv` writes it.")
]
FindingNames = Annotated[
    list[str] | None, typer.Option("--finding", metavar="NAME", help="In place of the model's labels: a finding in any words. Repeatable.")
]
FindingsFile = Annotated[
    Path | None, typer.Option("--findings", metavar="FILE", help="More of them: YAML or table of names, with a pair of prompts or none.")
]
FindingLabels = Annotated[
    Path | None, typer.Option("--labels", metavar="CSV", help="VolumeName and labels of any name, in place of the cohort's 18.")
]
Part = Annotated[str | None, typer.Option("--shard", metavar="3/16", help="Do the third of sixteen parts, into a file of its own.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Volumes that are encoded at once; by default 1 on a processor, and what a card's free memory holds.",
        show_default=False,
    ),
]
Readers = Annotated[int, typer.Option("--workers", min=1, help="Processes that read scans ahead; 1 reads the next one in a thread.")]
#: `--json -` where `--json` is a flag: what stands behind it.
StandardOutput = Annotated[str | None, typer.Argument(metavar="[-]", hidden=True)]
LanguageDtype = Annotated[
    Literal["auto", "bf16", "float32"], typer.Option(help="Numbers of the language model's weights: as its folder has them, or these.")
]
Dtype = Annotated[Precision, typer.Option(help="float32 is exact; bf16 is faster and flips some codes.")]


@dataclass(frozen=True, kw_only=True)
class ReadArguments:
    """Collect the options of how scans are read, which `reads_scans` adds to a command."""

    metadata: Metadata = None
    hu: Hu = "auto"
    series: Series = None
    min_slices: MinSlices = 10
    uneven: Uneven = "refuse"
    encoding: Encoding = "utf-8"

    def reading(self, *, strict: bool = False) -> ReadOptions:
        """Open the metadata, once for all scans.

        Raises:
            MetadataError: not such a table.
        """
        from thoracle.inference.batch.runner import ReadOptions, load_metadata

        metadata = load_metadata(self.metadata, encoding=self.encoding)
        return ReadOptions(metadata=metadata, hu=self.hu, series=self.series, min_slices=self.min_slices, uneven=self.uneven, strict=strict)


def reads_scans(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `ReadArguments` in place of its parameter `read_arguments`, but for those it words itself."""
    hints = get_type_hints(command, include_extras=True)
    option_hints = get_type_hints(ReadArguments, include_extras=True)
    options = [
        inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option_hints[option.name])
        for option in fields(ReadArguments)
        if option.name not in hints
    ]
    parameters = list[inspect.Parameter]()
    for parameter in inspect.signature(command).parameters.values():
        is_group = parameter.name == "read_arguments"
        parameters += options if is_group else [parameter.replace(annotation=hints[parameter.name])]

    @wraps(command)
    def expanded(*arguments: Any, **values: Any) -> None:
        group = ReadArguments(**{option.name: values.pop(option.name) for option in options if option.name in values})
        command(*arguments, read_arguments=group, **values)

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # which typer makes options of
    return expanded
