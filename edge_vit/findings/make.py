"""Make a report: check, gather, render, write page and values together."""

import json
from pathlib import Path

from converters.result import publish_all, staging
from edge_vit.findings.gather import Findings, Progress, check, gather
from edge_vit.findings.request import ReportRequest, ReportResult
from edge_vit.reports.page import check_libraries, render


def run(request: ReportRequest, progress: Progress = lambda name, done, total: None) -> ReportResult:
    """Write a report; the page and its JSON appear together, or everything stays as it was.

    Args:
        progress: Called with an artefact's name, pictures done and in all.

    Raises:
        ValueError: If an artefact, the records, the pictures or the output do not fit; the message says which.
        ImportError: If a library or a runtime is missing; the message names the extra.
    """
    checked = check(request)
    check_libraries()
    with staging(request.page.parent, f".{request.page.name}.", "choose another --output") as folder:
        findings = gather(checked, progress)
        page, values = _write(findings, folder)
        publish_all([(page, request.page), (values, request.values)])
    return ReportResult(
        page=request.page,
        values=request.values,
        num_bytes=request.page.stat().st_size,
        left_out=tuple(findings.left_out),
        skipped=tuple(findings.skipped),
    )


def _write(findings: Findings, folder: Path) -> tuple[Path, Path]:
    page, values = folder / "page", folder / "values"
    page.write_text(render(findings.values, findings.thumbnails), encoding="utf-8", newline="\n")
    values.write_text(json.dumps(findings.values, indent=1, allow_nan=False) + "\n", encoding="utf-8", newline="\n")
    return page, values
