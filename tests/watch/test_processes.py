"""`resnetlab watch` shows in Chromium a study that another process trains."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import itertools
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import studies
from helpers.pages import report_of_watch
from helpers.processes import environment
from resnetlab.translation import Language
from resnetlab.watch.latest_page import LatestPage, LivePage
from resnetlab.watch.server import WatchServer

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


@contextlib.contextmanager
def watching(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command on a free port. Yields its process and its address."""
    command = [sys.executable, "-m", "resnetlab", "watch", *words, "--port", "0"]
    process = subprocess.Popen(
        command,
        text=True,
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"(127\.0\.0\.1:\d+) \(Ctrl-C stops it\)", line)
        assert match, line + (process.stderr.read() if process.stderr else "")
        yield process, match[1]
    finally:
        process.kill()
        process.communicate()


def get(address: str, path: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def follow(address: str, last: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
    """Return the events until the one that is the last, at most for four minutes."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/events")
    response = connection.getresponse()
    updates: list[dict[str, str]] = []
    deadline = time.monotonic() + 240
    while not updates or not last(updates[-1]):
        assert time.monotonic() < deadline, updates
        line = response.readline()
        assert line, updates
        if line.startswith(b"data: "):
            updates.append(json.loads(line.removeprefix(b"data: ")))
    return updates


@pytest.mark.slow
def test_events_follow_the_epochs_of_a_study_and_the_last_page_is_its_report(
    tmp_path: Path, study_file: Path
) -> None:
    root = tmp_path / "out"
    with watching(str(study_file), "--output", str(root)) as (watcher, address):
        assert "4 waiting" in get(address, "/")
        process = studies.start(study_file, root, "-j", "1", "--set", "recipe.epochs=40")
        report: list[str] = []

        def is_last(update: dict[str, str]) -> bool:
            page = get(address, "/report.html") if "4 of 4" in update["status"] else ""
            report.append(page)
            return page != "" and "Partial report" not in page

        updates = follow(address, is_last)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, output + errors
        lines = [update["status"] for update in updates]
        epochs = set(re.findall(r"\(epoch ([\d.]+) of 40\)", " ".join(lines)))
        assert len(epochs) >= 3, lines
        counts = [int(line.partition(" of 4 runs finished")[0]) for line in lines]
        assert counts == sorted(counts)
        assert len(set(counts)) >= 3, lines
        assert any(re.search(r"about [\d:]+ (s|min) left", line) for line in lines), lines
        pairs = itertools.pairwise(updates)
        assert all(before != after for before, after in pairs)
        written = next((root / "studies").glob("*/report.html")).read_text()
        assert report[-1] == written
        page = POLICY.sub("", report_of_watch(get(address, "/")))
        assert page == POLICY.sub("", written)
        watcher.send_signal(signal.SIGINT)
        _, errors = watcher.communicate(timeout=30)
        assert watcher.returncode == 130
        assert errors.splitlines()[-1] == "resnetlab: interrupted"
        assert "Traceback" not in errors


BROWSER = """
const puppeteer = require("puppeteer-core");
const address = process.argv[1];
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
(async () => {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"],
  });
  const page = await browser.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  await page.setViewport({ width: 900, height: 600 });
  await page.goto(address + "/#sort=2", { waitUntil: "load" });
  await page.evaluate(() => {
    document.querySelector("details").open = true;
    document.getElementById("claims").scrollIntoView();
  });
  const state = () => page.evaluate(() => ({
    status: document.querySelector("#watch span").textContent,
    version: document.querySelector("main").dataset.number,
    open: [...document.querySelectorAll("details")].map((details) => details.open),
    top: Math.round(document.getElementById("claims").getBoundingClientRect().top),
    hash: location.hash,
    state: document.getElementById("watch").dataset.state,
  }));
  const result = { first: await state() };
  console.log("ready 1");
  await page.waitForFunction(() => document.querySelector("main").dataset.number === "2");
  await wait(300);
  result.second = await state();
  await page.click("#watch button");
  console.log("ready 2");
  await page.waitForFunction(() => document.querySelector("#watch span").textContent === "line 3");
  await wait(3500);
  result.paused = await state();
  console.log("ready 3");
  await page.waitForFunction(() => document.getElementById("watch").dataset.state === "lost");
  result.lost = await state();
  result.faults = faults.filter((text) => !text.includes("ERR_"));
  console.log("result " + JSON.stringify(result));
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
"""


def has_puppeteer() -> bool:
    if not shutil.which("node") or not shutil.which("chromium"):
        return False
    command = ["node", "-e", 'require("puppeteer-core")']
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class CutServer(WatchServer):
    """A server whose connections can be cut, as when its process is killed."""

    def __init__(self, latest_page: LatestPage, title: str, language: Language, port: int) -> None:
        super().__init__(latest_page, title, language, port)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def cut(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def report_page(number: int) -> LivePage:
    """Return a long page; in the second one a new paragraph stands above the reader's place.

    As in a report, a script of its own declares the names of the status line's script.
    """
    script = "const bar = 0, line = 0, pause = 0;"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    more = "<p style='height: 700px'>new</p>" if number > 1 else ""
    page = (
        "<!doctype html>\n<html><head>\n"
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'\">\n"
        f"<script>{script}</script></head>\n<body>\n"
        f"<main data-number='{number}'>{more}<p style='height: 900px'>above</p>"
        "<section><h2 id='claims'>Claims</h2><details><summary>a</summary>text</details>"
        "<details><summary>b</summary>text</details></section>"
        "<p style='height: 2000px'>below</p></main></body></html>"
    )
    return LivePage(f"line {number}", f"v{number}", page)


@pytest.mark.slow
@pytest.mark.skipif(not has_puppeteer(), reason="needs node, puppeteer-core and chromium")
def test_the_page_in_a_browser_preserves_its_position_pauses_and_shows_a_lost_connection() -> None:
    latest_page = LatestPage(report_page(1))
    server = CutServer(latest_page, "Question?", "en", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = ["node", "-e", BROWSER, server.address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    result = None
    assert process.stdout is not None
    for line in process.stdout:
        word, _, rest = line.strip().partition(" ")
        if word == "result":
            result = json.loads(rest)
        elif rest == "3":
            server.cut()
        else:
            following = report_page(int(rest) + 1)
            latest_page.publish(
                status=following.status, version=following.version, report=following.report
            )
    _, errors = process.communicate(timeout=60)
    assert result is not None, errors
    assert result["faults"] == []
    assert result["first"]["version"] == "1"
    second = result["second"]
    assert (second["version"], second["status"]) == ("2", "line 2")
    assert second["open"] == [True, False]
    assert second["hash"] == "#sort=2"
    assert abs(second["top"] - result["first"]["top"]) <= 2
    assert (result["paused"]["version"], result["paused"]["status"]) == ("2", "line 3")
    assert result["lost"]["status"] == "no connection to resnetlab watch"
