"""The server of `watch` sends only its page, files and events, and only to this machine."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.commands import check_error_lines, run_command
from resnetlab.watch import server as server_module
from resnetlab.watch.latest_page import LatestPage, LivePage
from resnetlab.watch.page import live_page
from resnetlab.watch.server import WatchServer

REPORT = (
    "<!doctype html>\n<html><head>\n"
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; script-src '
    "'sha256-abc='; style-src 'unsafe-inline'; base-uri 'none'\">\n"
    "</head>\n<body>\n<main>report</main></body></html>\n"
)


@pytest.fixture
def served() -> Iterator[WatchServer]:
    files = {"report.html": REPORT.encode(), "figures/a b.svg": b"<svg/>", "results.csv": b"a\n"}
    latest_page = LatestPage(LivePage("1 of 2 <runs>", "v1", REPORT, files))
    server = WatchServer(latest_page, "Is it <better>?", "en", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def get(
    server: WatchServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=20)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    content = response.read().decode()
    connection.close()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, content


class Events:
    """A plain client of the events."""

    def __init__(self, server: WatchServer) -> None:
        self.connection = http.client.HTTPConnection(server.address.removeprefix("http://"))
        self.connection.request("GET", "/events")
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.getheader("Content-Type") == "text/event-stream; charset=utf-8"

    def next(self) -> dict[str, str]:
        while not (line := self.response.readline()).startswith(b"data: "):
            assert line, "the stream ended"
        value: dict[str, str] = json.loads(line.removeprefix(b"data: "))
        return value


def test_the_page_has_the_status_line_and_its_policy_allows_only_the_added_files(
    served: WatchServer,
) -> None:
    status, headers, page = get(served, "/")
    assert status == 200
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    assert "<span>1 of 2 &lt;runs&gt;</span>" in page
    assert "script-src 'sha256-abc=' 'self'; style-src 'unsafe-inline' 'self'" in page
    assert "default-src 'none'" in page
    assert "connect-src 'self'" in page
    assert get(served, "/watch.js")[1]["content-type"].startswith("text/javascript")
    assert get(served, "/watch.css")[0] == 200


def test_before_the_first_report_the_page_has_the_question_and_the_status_line() -> None:
    page = live_page(LivePage("0 of 2"), "Is it <better>?", "fr")
    assert "<h1>Is it &lt;better&gt;?</h1>" in page
    assert '<html lang="fr">' in page
    assert "<span>0 of 2</span>" in page
    assert "script-src 'self' 'self'" not in page


def test_files_of_the_report_are_served_from_memory_and_no_other_path_is_served(
    served: WatchServer,
) -> None:
    assert get(served, "/report.html")[2] == REPORT
    status, headers, content = get(served, "/figures/a%20b.svg")
    assert (status, content) == (200, "<svg/>")
    assert headers["content-type"].startswith("image/svg+xml")
    assert "default-src 'none'" in headers["content-security-policy"]
    for path in (
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/figures/../../x",
        "/figures",
        "/%00",
        "/plan.json",
    ):
        assert get(served, path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert get(served, "/", method)[0] == 501


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_requests_from_other_sites_are_refused(
    served: WatchServer, headers: dict[str, str]
) -> None:
    for path in ("/", "/events", "/results.csv", "/watch.js"):
        status, _, text = get(served, path, **headers)
        assert status == 403, path
        assert "report" not in text


def test_every_window_gets_the_present_state_and_one_event_for_each_change(
    served: WatchServer,
) -> None:
    windows = [Events(served) for _ in range(3)]
    assert [window.next() for window in windows] == [
        {"version": "v1", "status": "1 of 2 <runs>"}
    ] * 3
    for number in range(3):
        served.latest_page.publish(status="2 of 2")  # only the first one changes something
        assert number or [window.next()["status"] for window in windows] == ["2 of 2"] * 3
    served.latest_page.publish(version="v2")
    assert [window.next()["version"] for window in windows] == ["v2"] * 3
    assert Events(served).next() == {"version": "v2", "status": "2 of 2"}


def test_closed_windows_free_their_connection_and_too_many_windows_are_refused(
    served: WatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "ALIVE_SECONDS", 0.05)
    windows = [Events(served) for _ in range(server_module.MAX_READERS)]
    assert get(served, "/events")[0] == 503
    for window in windows:
        window.next()
        window.response.close()
        window.connection.close()
    deadline = time.monotonic() + 15
    while get_events_status(served) == 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def get_events_status(server: WatchServer) -> int:
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=20)
    connection.request("GET", "/events")
    response = connection.getresponse()
    response.close()
    connection.close()
    return response.status


def test_the_command_refuses_an_unknown_study_and_a_port_in_use_in_one_line(
    tmp_path: Path,
) -> None:
    ended = run_command("watch", "nosuch", folder=tmp_path)
    check_error_lines(ended)
    assert "nosuch" in ended.errors
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run_command("watch", "digits", "--port", port, folder=tmp_path)
    check_error_lines(ended)
    assert "--port: 127.0.0.1" in ended.errors
    assert "--port 0 takes a free one" in ended.errors
    assert not (tmp_path / "studies").exists()
    assert not (tmp_path / "runs").exists()
