"""The prediction service and its page answer as documented, refuse invalid requests, and load
nothing from other servers.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from helpers.model_folders import CLASSES, write_model
from helpers.pages import displayed
from helpers.pictures import encoded, picture, save
from helpers.sentences import PageText, english_left
from resnetlab.deploy.answer_texts import describe_doubt
from resnetlab.deploy.explain.explainer import Explainer, Explanation
from resnetlab.deploy.predict import load_model
from resnetlab.deploy.serve import server
from resnetlab.deploy.serve.limits import Limits
from resnetlab.deploy.serve.prediction_service import PredictionService, PredictResponse
from resnetlab.deploy.serve.server import create_app
from resnetlab.errors import InputError
from resnetlab.local_server import allowed_host, listen
from resnetlab.model_folder.model_file import License

HERE = "http://localhost:8000"
PHOTO = encoded(picture(3, 60, 50))


def client(model: Path, limits: Limits | None = None) -> TestClient:
    app = create_app(load_model(model, accept_license=True), limits)
    return TestClient(app, base_url=HERE, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def service(pets: Path) -> Iterator[TestClient]:
    with client(pets) as connection:
        yield connection


def error_text(response: httpx.Response, status: int) -> str:
    """Check that an error is one line of JSON, and return it."""
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    text = str(response.json()["error"])
    assert "\n" not in text
    return text


def test_heat_maps_are_computed_in_the_thread_of_the_network(
    service: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two heat maps at once would read each other's features."""
    threads: list[str] = []
    original = Explainer.explain

    def explain(explainer: Explainer, *arguments: Any, **options: Any) -> Iterator[Explanation]:
        threads.append(threading.current_thread().name)
        yield from original(explainer, *arguments, **options)

    monkeypatch.setattr(Explainer, "explain", explain)
    assert service.post("/predict?explain=true", content=PHOTO).status_code == 200
    assert [name.rpartition("_")[0] for name in threads] == ["network"]


def test_the_service_gives_the_predictions_of_the_command_predict(
    service: TestClient, pets: Path, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    expected = load_model(pets).predict([path], top=3)[0].top_classes
    for response in (
        service.post("/predict?top=3", content=PHOTO, headers={"Content-Type": "image/png"}),
        service.post("/predict?top=3", content=PHOTO),
        service.post("/predict?top=3", files={"photograph": ("photo.png", PHOTO)}),
    ):
        result = response.json()
        assert response.status_code == 200
        assert [one["name"] for one in result["classes"]] == [item.label for item in expected]
        assert [one["probability"] for one in result["classes"]] == pytest.approx(
            [g.probability for g in expected]
        )
        assert (result["model"], result["license"], result["grad_cam"]) == ("pets", "MIT", "")


def test_the_heat_map_is_sent_as_a_png_on_request(service: TestClient) -> None:
    result = service.post("/predict?explain=true", content=PHOTO).json()
    kind, _, text = result["grad_cam"].partition(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(text))).size == (24, 24)


def test_health_contains_the_name_classes_and_license_of_the_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "wsl", license=License(name="CC-BY-NC-4.0"))
    with client(folder) as connection:
        assert connection.get("/health").json() == {
            "status": "ok",
            "model": "wsl",
            "num_classes": len(CLASSES),
            "license": "CC-BY-NC-4.0",
            "class_names": list(CLASSES),
        }
        assert "No commercial use" in connection.get("/").text


def test_the_page_lists_the_classes_and_the_api_reference_has_the_address_of_the_service(
    tmp_path: Path,
) -> None:
    names = ("cat", "<b>dog</b>", *(f"class {number}" for number in range(600)))
    with client(write_model(tmp_path / "many", classes=names)) as connection:
        page = connection.get("/").text
        assert "&lt;b&gt;dog&lt;/b&gt;, class 0, " in page
        assert "and 102 more, which" in page
        assert len(connection.get("/health").json()["class_names"]) == 602
        docs = connection.get("/docs", headers={"Host": "192.168.1.7:8765"}).text
        assert "http://192.168.1.7:8765/predict?top=3" in docs
        assert "localhost" not in docs


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("en-US,en;q=0.9,fr;q=0.8", "en"),
        ("de-DE,de;q=0.9,fr;q=0.4", "fr"),
        ("de;q=x, *;q=0.5", "en"),
        ("", "en"),
    ],
)
def test_the_page_is_in_the_language_of_the_browser(
    service: TestClient, accepted: str, language: str
) -> None:
    response = service.get("/", headers={"Accept-Language": accepted})
    assert f'<html lang="{language}">' in response.text
    assert response.headers["Vary"] == "Accept-Language"


def test_the_french_page_and_its_script_are_french(service: TestClient) -> None:
    text = service.get("/", headers={"Accept-Language": "fr"}).text
    page = PageText(text)
    assert english_left(page) == []
    (words,) = re.findall(r'data-words="([^"]+)"', text)
    texts = json.loads(html.unescape(words))
    assert texts["waiting"] == "en attente"
    assert set(re.findall(r'\btr\("([^"]+)"', text)) == set(texts)


def test_an_uncertain_answer_has_a_note(service: TestClient) -> None:
    result = service.post("/predict", content=PHOTO).json()
    probability = result["classes"][0]["probability"]
    assert result["note"] == describe_doubt(probability, len(CLASSES))
    assert describe_doubt(0.5, 6) == ""
    assert describe_doubt(0.374, 10) == (
        "The model is not sure: it gives its first answer a probability of only 37 %. The answer "
        "may be wrong, or the photograph may show none of the 10 classes."
    )


PREDICT_THREE = """
<script>
const bodies = {
  "a.jpg": [200, { classes: [{ name: "cat", probability: 0.9 }], note: "", grad_cam: "data:," }],
  "b.jpg": [422, { error: "not an image" }],
  "d.jpg": [200, { classes: [{ name: "owl", probability: 0.3 }], note: "not sure", grad_cam: "" }],
};
window.createImageBitmap = () => Promise.reject(); // decodes in a thread that virtual time outruns
window.fetch = async (_, { body }) => {
  const [status, answer] = bodies[body.name];
  return { ok: status === 200, status, json: async () => ({ seconds: 0.1, ...answer }) };
};
const files = ["a.jpg", "b.jpg", "c.txt", "d.jpg"].map((name) =>
  new File(["x"], name, { type: name.endsWith(".jpg") ? "image/jpeg" : "text/plain" }));
const state = () => [at("list").children.length, at("bars").children.length,
  at("status").textContent, at("heat").hidden, at("preview").hidden, at("doubt").textContent];
(async () => {
  const seen = {};
  await predictAll(files);
  at("preview").dispatchEvent(new Event("error")); // as for a file that no browser can draw
  seen.all = state();
  seen.rows = [...at("list").children].map((row) => row.textContent);
  select(1);
  seen.bad = state();
  select(3);
  seen.unsure = state();
  await predictAll([files[2]]);
  seen.alone = state();
  await predictAll(Array.from({ length: 103 }, (_, k) => files[0]));
  seen.rest = at("rest").textContent;
  document.body.dataset.seen = JSON.stringify(seen);
})();
</script>
"""


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_the_page_predicts_every_file_and_shows_no_result_of_another_file(
    service: TestClient, tmp_path: Path
) -> None:
    page = service.get("/").text.replace("</body>", PREDICT_THREE + "</body>")
    match = re.search(r'data-seen="([^"]+)"', displayed(page, tmp_path))
    assert match
    seen = json.loads(html.unescape(match[1]))
    assert seen["rows"] == [
        "a.jpgcat 90.0\N{NO-BREAK SPACE}%",
        "b.jpgnot an image",
        "c.txtThis file is not a photograph.",
        "d.jpgowl 30.0\N{NO-BREAK SPACE}%",
    ]
    # Rows, bars, status, heat map hidden, broken preview hidden, doubt.
    assert seen["all"] == [4, 1, "Answered in 0.10 s.", False, True, ""]
    assert seen["bad"] == [4, 0, "not an image", True, False, ""]
    assert seen["unsure"][-1] == "not sure"
    assert seen["alone"][:4] == [1, 0, "This file is not a photograph.", True]
    assert seen["rest"].startswith("3 of 103 files are not looked at, since 100 are the most")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_external_and_runs_only_its_own_script(
    service: TestClient, path: str
) -> None:
    page = service.get(path)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    for kind in ("style", "script"):
        for inside in re.findall(rf"<{kind}>(.*?)</{kind}>", page.text, re.S):
            digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"""(src|href)="(https?:)?//""", page.text)
    assert not re.search(r"\son\w+=", page.text)


def test_the_page_offers_the_camera_of_a_phone(service: TestClient) -> None:
    assert re.search(
        r'<input id="camera" type="file" accept="[^"]+" capture="environment">',
        service.get("/").text,
    )


def test_the_media_type_of_a_form_is_read_without_case(service: TestClient) -> None:
    form = (
        b'--X\r\nContent-Disposition: form-data; name="photograph"; filename="a.png"\r\n\r\n'
        + PHOTO
        + b"\r\n--X--\r\n"
    )
    expected = service.post("/predict", content=PHOTO).json()["classes"]
    for kind in ("Multipart/Form-Data; boundary=X", "multipart/form-data ; boundary=X"):
        response = service.post("/predict", content=form, headers={"Content-Type": kind})
        assert response.status_code == 200, response.text
        assert response.json()["classes"] == expected


@pytest.mark.parametrize("has_heif", [True, False])
def test_the_page_offers_every_format_that_the_service_reads(
    pets: Path, monkeypatch: pytest.MonkeyPatch, has_heif: bool
) -> None:
    monkeypatch.setattr("resnetlab.deploy.serve.pages.is_heif_installed", lambda: has_heif)
    with client(pets) as connection:
        page = connection.get("/").text
    match = re.search(r'<input id="file" type="file" multiple accept="([^"]+)">', page)
    assert match is not None
    offered = set(match[1].split(","))
    readable = {"jpeg", "png", "webp", "bmp", "gif", "tiff", "avif"}
    assert {f"image/{name}" for name in readable} <= offered
    assert ("image/heic" in offered) == (".heic" in offered) == has_heif


def test_openapi_describes_the_routes(service: TestClient) -> None:
    schema = service.get("/openapi.json").json()
    assert sorted(schema["paths"]) == ["/health", "/predict"]
    assert "multipart/form-data" in schema["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert "POST /predict" in service.get("/docs").text


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 422, "empty file"),
        (b"a text", 422, "not an image"),
        (b"%PDF-1.7 in disguise", 422, "a PDF"),
        (PHOTO[: len(PHOTO) // 2], 422, "truncated PNG"),
        (encoded(Image.new("L", (5000, 4001))), 413, "20.0 megapixels; at most 20"),
        (b"x" * 10_000_001, 413, "larger than 10 MB"),
    ],
)
def test_content_that_is_not_a_photograph_is_refused_in_one_line(
    service: TestClient, content: bytes, status: int, message: str
) -> None:
    assert message in error_text(service.post("/predict", content=content), status)
    assert message in error_text(
        service.post("/predict", files={"photograph": ("a.jpg", content)}), status
    )


def test_a_body_without_a_length_is_cut_off_at_the_size_limit(service: TestClient) -> None:
    def long() -> Iterator[bytes]:
        for _ in range(12):
            yield b"x" * 1_000_000

    assert "larger than 10 MB" in error_text(service.post("/predict", content=long()), 413)


def test_mistakes_in_a_request_are_reported_in_one_line(service: TestClient) -> None:
    assert "top" in error_text(service.post("/predict?top=0", content=PHOTO), 422)
    assert "without a file" in error_text(
        service.post("/predict", files={"a": (None, "text")}), 422
    )
    broken = {"Content-Type": "multipart/form-data"}
    assert "not a form" in error_text(service.post("/predict", content=b"x", headers=broken), 422)
    error_text(service.get("/predict"), 405)
    error_text(service.get("/model.safetensors"), 404)
    error_text(service.get("/../model.json"), 404)


def test_requests_for_other_host_names_and_from_other_pages_are_refused(
    service: TestClient,
) -> None:
    assert "evil.example" in error_text(
        service.get("/health", headers={"Host": "evil.example"}), 403
    )
    for origin in ("http://evil.example", "null"):
        assert "another site" in error_text(
            service.post("/predict", content=PHOTO, headers={"Origin": origin}), 403
        )
    assert service.post("/predict", content=PHOTO, headers={"Origin": HERE}).status_code == 200
    for name in ("127.0.0.1:8000", "[::1]:8000", "192.168.1.7", "localhost"):
        assert allowed_host(name, "127.0.0.1")
    for name in ("evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8000"):
        assert not allowed_host(name, "127.0.0.1")


def test_requests_above_the_limit_get_503_and_slow_requests_are_ended(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, looking = threading.Event(), threading.Event()
    look = PredictionService.predict

    def slow(self: PredictionService, raw: bytes, top: int, explained: bool) -> PredictResponse:
        looking.set()
        release.wait(20)
        return look(self, raw, top, explained)

    monkeypatch.setattr(PredictionService, "predict", slow)
    with client(pets, Limits(seconds=2, max_requests=1)) as connection:
        answers: list[httpx.Response] = []
        first = threading.Thread(
            target=lambda: answers.append(connection.post("/predict", content=PHOTO))
        )
        first.start()
        assert looking.wait(20)
        assert "busy" in error_text(connection.post("/predict", content=PHOTO), 503)
        first.join(20)
        assert "took longer than 2 s" in error_text(answers[0], 408)
        release.set()
        time.sleep(0.2)
        assert connection.get("/health").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_responses_do_not_wait_for_acknowledgments(host: str) -> None:
    with listen(host, 0) as listening, socket.create_connection(listening.getsockname()[:2]):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_an_unexpected_error_of_the_service_is_reported_in_one_line(
    service: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> PredictResponse:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(PredictionService, "predict", broken)
    assert (
        error_text(service.post("/predict", content=PHOTO), 500)
        == "unexpected error: ZeroDivisionError"
    )


def test_a_real_process_serves_a_photograph_and_ends_on_a_signal(
    pets: Path, tmp_path: Path
) -> None:
    save(tmp_path / "photo.png", picture(3, 60, 50))
    command = [sys.executable, "-m", "resnetlab", "serve", str(pets), "--port", "0"]
    heard = partial(
        signal.signal, signal.SIGINT, signal.SIG_DFL
    )  # also where the tests run in the background
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        assert process.stdout is not None
        try:
            match = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert match is not None
            with httpx.Client(base_url=match[0], timeout=60) as connection:
                assert connection.get("/health").json()["model"] == "pets"
                answer = connection.post(
                    "/predict?explain=true", content=(tmp_path / "photo.png").read_bytes()
                )
                assert answer.status_code == 200, answer.text
                assert answer.json()["grad_cam"].startswith("data:image/png")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
        assert process.returncode == 130


def test_a_port_in_use_is_reported_in_one_line(pets: Path) -> None:
    with pytest.raises(InputError, match="cannot be bound"):
        server.run_server(
            load_model(pets), "192.0.2.1", 8000, lambda _: None
        )  # an address of no machine
