"""The page in headless Chromium: no error, no request, sorting that works by keyboard and for numbers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from engine.report.publication import write_report

Record = dict[str, Any]
CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
        if (found := shutil.which(name))
    ),
    None,
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
DRIVER = """
<script>
const out = [];
const rows = (table) => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent);
const table = document.querySelector("#subject-of-the-test table");
const head = table.tHead.rows[0].cells[1];
for (let press = 0; press < 3; press++) {
  head.querySelector("button").click();
  out.push(head.getAttribute("aria-sort") + ":" + rows(table).join("|"));
}
document.title = out.join(" ; ");
document.body.dataset.found = out.join(" ; ");
</script>
"""


def opened(page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={folder / 'profile'}", f"--log-net-log={folder / 'net.json'}", *options,
        page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


def test_the_page_opens_without_errors_and_asks_the_network_for_nothing(
    summary: Record, material: Record, tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    write_report(folder, summary, material)
    done = opened(folder / "report.html", tmp_path, "--dump-dom")
    assert "CONSOLE" not in done.stderr, done.stderr
    assert "Content Security Policy" not in done.stderr
    assert 'aria-sort="none"' in done.stdout, "the script ran"
    assert 'type="button"' in done.stdout, "columns sort by keyboard, too"
    net = (tmp_path / "net.json").read_text()
    page = (folder / "report.html").read_text()
    assert "URL_REQUEST_START_JOB" in net, "the log records requests"
    asked = [line for line in net.splitlines() if '"url":"' in line and "file:" in line]
    assert all("report.html" in line for line in asked)
    assert page.count("<script>") == 1


def test_columns_sort_as_numbers_with_the_missing_last_and_come_back(tmp_path: Path) -> None:
    """The script alone, on a table that mixes all ways in which the page writes numbers."""
    script = (Path(write_report.__code__.co_filename).with_name("page.js")).read_text()
    values = ["1,024", "–", ".43", "−.01", "12 %", "3.2e3", "1:23"]
    body = "".join(f"<tr><th>{n}</th><td>{v}</td></tr>" for n, v in enumerate(values))
    page = tmp_path / "table.html"
    page.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><div id="subject-of-the-test"><div class="wide"><table>'
        f"<thead><tr><th>a</th><th>b</th></tr></thead><tbody>{body}</tbody></table></div></div>"
        f"<script>{script}</script>{DRIVER}"
    )
    done = opened(page, tmp_path, "--dump-dom")
    upwards = "−.01|12 %|.43|1:23|1,024|3.2e3|–"
    downwards = "3.2e3|1,024|1:23|.43|12 %|−.01|–"
    found = f"ascending:{upwards} ; descending:{downwards} ; none:{'|'.join(values)}"
    assert f'data-found="{found}"' in done.stdout
