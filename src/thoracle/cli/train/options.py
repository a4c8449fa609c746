"""Options that every task takes, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Option("--config", metavar="YAML", help="Settings, as in `configs/`, or the name of one that is shipped.")]
Cohort = Annotated[Path | None, typer.Option("--cohort", metavar="DIR", help="What `thoracle prepare` wrote; in place of the setting.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run's folder; in place of the setting.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Setting in place of the file's, such as optimizer.lr=1e-4; may be given again."),
]
