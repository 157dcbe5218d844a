"""``slidesurv fetch``: slides, expression and follow-up from the Genomic Data Commons; the only verb with a network."""

import json as json_
import sys
from pathlib import Path
from typing import Annotated

import typer

from slidesurv.cli.speech import say
from slidesurv.cohorts.gdc import GDC

__all__ = ["app", "download", "manifest", "verify"]

app = typer.Typer(
    help="Fetch slides, expression and follow-up from the Genomic Data Commons.\n\n"
    "Example: slidesurv fetch manifest TCGA-BLCA -o blca",
    no_args_is_help=True,
    rich_markup_mode=None,
)

BaseUrl = Annotated[str, typer.Option("--base-url", help="Address of GDC's API, or of a mirror.")]
Connections = Annotated[int, typer.Option(help="Most at a time; GDC asks for few.")]
EVERY = 100  # files from one line of progress to the next


@app.command()
def manifest(
    projects: Annotated[list[str], typer.Argument(help="Such as TCGA-BLCA; several make one cohort.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write into.")],
    kind: Annotated[list[str] | None, typer.Option(help="slides, expression; may be repeated. [both]")] = None,
    endpoints: Annotated[
        Path | None, typer.Option(help="Table S1 of TCGA-CDR (Liu et al., Cell 2018): .xlsx, or its sheet as CSV.")
    ] = None,
    endpoint: Annotated[str, typer.Option(help="Of that table: OS, DSS, DFI or PFI.")] = "OS",
    base_url: BaseUrl = GDC,
) -> None:
    """List what GDC holds of a project, and write the table of its patients.

    Writes gdc_manifest.txt (for 'fetch download' or gdc-client), gdc_sample_sheet.tsv, clinical.csv, cohort.csv (for
    [cohort] table) and gdc.json. Files that cannot be used are listed in gdc_failures.csv, and the exit code is 3.

    Example: slidesurv fetch manifest TCGA-BLCA -o blca --endpoints TCGA-CDR-SupplementalTableS1.xlsx
    """
    from slidesurv.cohorts.endpoints import read_endpoints
    from slidesurv.cohorts.gdc import KINDS, find_holdings
    from slidesurv.cohorts.holdings import write_holdings
    from slidesurv.cohorts.web import Web

    known = read_endpoints(endpoints, endpoint) if endpoints else None
    with Web(base_url) as web:
        found = find_holdings(web, projects, kind or tuple(KINDS))
    if known is not None:
        found = found.with_follow_up(known, source=f"{endpoint} of TCGA-CDR")
    untold = write_holdings(output, found)
    for name in sorted(kind or KINDS):
        own = [file for file in found.files if file.kind == name]
        say(f"{name}: {len(own)} files of {len({f.patient for f in own})} patients, {_size(sum(f.size for f in own))}")
    if found.normal:
        say(f"{found.normal} samples of normal tissue were left out.")
    if untold:
        say(f'{untold} patients have no follow-up; set [cohort] drop_invalid = true, or complete "cohort.csv".')
    print(f"{len(found.files)} files: {output / 'gdc_manifest.txt'}")
    if found.failures:
        say(f"{len(found.failures)} files cannot be used: {output / 'gdc_failures.csv'}")
        sys.exit(3)


@app.command()
def download(
    manifest: Annotated[Path, typer.Argument(help="gdc_manifest.txt, or one of the data portal.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder [where the manifest lies].")] = None,
    connections: Connections = 4,
    attempts: Annotated[int, typer.Option(help="In a row without getting further, before a file fails.")] = 6,
    base_url: BaseUrl = GDC,
) -> None:
    """Download what a manifest lists, as gdc-client would.

    Files come in pieces, several at a time, and get their names when their md5 is right. Give the same command again
    after an interruption, and it goes on. Files that cannot be had are listed in failures.csv, and the exit code is 3.

    Example: slidesurv fetch download blca/gdc_manifest.txt
    """
    from slidesurv.cohorts.inventory import read_gdc_manifest
    from slidesurv.cohorts.transfer import download as fetch
    from slidesurv.cohorts.web import Web
    from slidesurv.engine import Outcome

    entries, folder = read_gdc_manifest(manifest), output or manifest.parent
    say(f"{len(entries)} files, {_size(sum(entry.size for entry in entries))}, into '{folder}'")
    ended: list[Outcome] = []

    def report(outcome: Outcome) -> None:
        ended.append(outcome)
        if outcome.status != "skipped":
            say(f"[{len(ended)}/{len(entries)}] {outcome.status}: {outcome.name} {outcome.reason}".rstrip())

    with Web(base_url, connections=connections, attempts=attempts) as web:
        outcomes = fetch(entries, folder, web, report=report)
    counts = {status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")}
    print(f"{len(outcomes)} files: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if counts["failed"]:
        say(f"Reasons: {folder / 'failures.csv'}")
        sys.exit(3)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="Filled by 'fetch download' or gdc-client.")],
    manifest: Annotated[
        list[Path] | None,
        typer.Option(help="What must be there; may be repeated. [*manifest*.txt in the folder]"),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write failures.csv here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Every file as JSON.")] = False,
) -> None:
    """Check every downloaded file against its manifest, byte by byte; nothing is changed.

    Names what is missing, unfinished (.partial), other than the manifest says, or in no manifest; then the exit code
    is 3.

    Example: slidesurv fetch verify blca
    """
    from slidesurv.cohorts.inventory import find_manifests, read_gdc_manifest, verify
    from slidesurv.files import write_csv

    entries = {entry: None for path in manifest or find_manifests(folder) for entry in read_gdc_manifest(path)}
    rows = []
    for finding in verify(folder, list(entries)):
        rows.append({"file": finding.place, "status": finding.status, "reason": finding.reason})
        if finding.status != "ok" and not json:
            print(f"{finding.status}: {finding.place}: {finding.reason}")
        if len(rows) % EVERY == 0:
            say(f"{len(rows)} of {len(entries)} files")
    if json:
        print(json_.dumps(rows, indent=1))
    bad = [row for row in rows if row["status"] != "ok"]
    if output:
        write_csv(output, bad, ("file", "status", "reason"))
    say(f"{len(rows)} files: {len(rows) - len(bad)} ok, {len(bad)} not")
    if bad:
        sys.exit(3)


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
