"""`thoracle cohort who COHORT NAME --src SRC`: which scan a pseudonym is, for the site that holds the key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.cohort import cohort


@cohort.command()
def who(
    folder: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="A pseudonym; or a patient's or scan's own number, or a path.")],
    *,
    src: Annotated[Path, typer.Option(metavar="SRC", help="The archive that it was prepared of.")],
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Key of the pseudonyms; by default the user's own.")] = None,
) -> None:
    """Print which scan of SRC a pseudonym stands for, or which pseudonym a scan has: a line a volume with pseudonym, name and path.

    SRC is named again with the key; nothing that is stored says it, so nobody without the key can ask.

    Exit status: 0 all well, 2 the command was wrong, the key is not at hand, or nothing has this name.
    """
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.preparation.pseudonym_lookup import identify
    from thoracle.cohort.pseudonyms import SiteKey, default_key_file

    prepared = open_cohort(folder)
    site_key = SiteKey.load(key or default_key_file(), outside=folder)
    for volume in identify(prepared, src, name, key=site_key):
        typer.echo("\t".join((volume.pseudonyms.volume, volume.source.volume, str(volume.source.path))))
