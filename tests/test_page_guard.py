"""The guard before the page: who gets in, from where, and what every answer carries (threats T1, T2, T4, T12)."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from app.page.desk import Desk
from app.page.users import Users, add_user
from app.server import application, serve
from app.settings import Settings
from tests.page_case import Finished
from vlm.errors import UsageError

pytestmark = pytest.mark.xdist_group("page")
HOST = "http://127.0.0.1:7860"
EVERYTHING = (
    "/", "/config", "/gradio_api/info", "/theme.css", "/own/viewer.js", "/own/niivue.js", "/favicon.ico", "/api/cases",
    "/gradio_api/startup-events", "/gradio_api/queue/data", "/api/cases/00/picture/ct.nii",
)  # fmt: skip


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


ANN, BOB = basic("ann", "correct horse"), basic("bob", "battery staple")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("page")
    for name, password in (("ann", "correct horse"), ("bob", "battery staple")):
        add_user(folder / "users", name, password)
    settings = Settings(data=folder / "data", host="0.0.0.0", users=folder / "users")
    desk = Desk(settings.data)
    yield TestClient(application(settings, desk), base_url=HOST, raise_server_exceptions=False)
    desk.close()


def upload(client: TestClient, data: bytes, who: dict[str, str]) -> str:
    name: str = client.post("/api/cases", json={"files": 1, "bytes": len(data)}, headers=who).json()["id"]
    assert client.put(f"/api/cases/{name}/files/1", content=data, headers=who).status_code == 200
    return name


def test_t1_a_public_address_needs_users(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--users"):
        Settings(data=tmp_path, host="0.0.0.0")
    Settings(data=tmp_path, host="127.0.0.1")


def test_f12_a_port_that_is_taken_is_one_line_and_touches_no_case(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(data=tmp_path / "data", port=taken.getsockname()[1])
        with pytest.raises(UsageError, match="--port"):
            serve(settings)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("path", EVERYTHING)
def test_t1_t18_nothing_is_answered_without_a_login(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 401
    assert client.get(path, headers=basic("nobody", path)).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:7860", ""])
def test_t2_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/cases", headers={**ANN, "Host": host}).status_code == 421


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://127.0.0.1:9999", "http://localhost:7860"])
def test_t2_a_foreign_origin_is_refused(client: TestClient, origin: str) -> None:
    for path in ("/api/cases", "/gradio_api/queue/join", "/gradio_api/upload"):
        assert client.post(path, headers={**ANN, "Origin": origin}, json={}).status_code == 403
    assert client.get("/api/cases", headers={**ANN, "Origin": origin}).status_code == 403


def test_t2_another_site_may_link_to_the_page_and_load_nothing_of_it(client: TestClient) -> None:
    other = {**ANN, "Sec-Fetch-Site": "cross-site"}
    assert client.get("/", headers={**other, "Sec-Fetch-Mode": "navigate"}).status_code == 200
    assert client.get("/api/cases", headers={**other, "Sec-Fetch-Mode": "navigate"}).status_code == 403
    assert client.get("/own/viewer.js", headers={**other, "Sec-Fetch-Mode": "no-cors"}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/api/cases", "/own/viewer.js", "/nothing"])
def test_every_answer_carries_the_headers(client: TestClient, path: str) -> None:
    for who in (ANN, {}):
        headers = client.get(path, headers=who).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "connect-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in client.get("/api/cases", headers=ANN).headers["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../etc/passwd",
        "/own/..%2froutes.py",
        "/own/build.py",
    ],
)
def test_t3_no_file_of_the_machine_is_served(client: TestClient, path: str) -> None:
    assert client.get(path, headers=ANN).status_code in (403, 404)


def test_t18_only_the_functions_that_are_meant_are_public(client: TestClient) -> None:
    info = client.get("/gradio_api/info", headers=ANN).json()
    assert set(info["named_endpoints"]) == {"/read", "/ask", "/query", "/search"}
    assert info["unnamed_endpoints"] == {}
    assert client.get("/config", headers=ANN).json().get("run_history") in (None, False)


def test_guessing_is_slowed_down(tmp_path: Path) -> None:
    add_user(tmp_path / "users", "eve", "a long password")
    users = Users(tmp_path / "users")
    for n in range(10):
        assert users.named(basic("eve", f"guess {n}")["Authorization"]) is None
    assert users.named(basic("eve", "a long password")["Authorization"]) is None  # even the right one waits


def test_the_file_of_users_holds_no_password(tmp_path: Path) -> None:
    add_user(tmp_path / "users", "ann", "correct horse")
    assert "correct" not in (tmp_path / "users").read_text("utf-8")
    assert (tmp_path / "users").stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError):
        add_user(tmp_path / "users", "Ann:x", "correct horse")


def test_t12_a_case_is_its_owners_alone(client: TestClient, finished: Finished) -> None:
    name = upload(client, finished.scan.read_bytes(), ANN)
    answers: list[httpx.Response] = [
        client.get(f"/api/cases/{name}", headers=BOB),
        client.get(f"/api/cases/{name}/picture/ct.nii", headers=BOB),
        client.get(f"/api/cases/{name}/export/report.md", headers=BOB),
        client.put(f"/api/cases/{name}/files/1", content=b"x", headers=BOB),
        client.delete(f"/api/cases/{name}", headers=BOB),
        *(
            client.post(f"/api/cases/{name}/{verb}", json=body, headers=BOB)
            for verb, body in (
                ("look", {}), ("read", {}), ("cancel", {}), ("point", {"mm": [0, 0, 0]}), ("ask", {"text": "mass?"}),
                ("review", {"action": "undo"}), ("judge", {"sentence": "S1", "text": "x"}), ("query", {"words": "x"}),
            )
        ),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert all(case["id"] != name for case in client.get("/api/cases", headers=BOB).json())
    assert any(case["id"] == name for case in client.get("/api/cases", headers=ANN).json())


def test_an_upload_gets_a_verdict_in_words(client: TestClient, finished: Finished) -> None:
    name = upload(client, finished.scan.read_bytes(), ANN)
    verdict = client.post(f"/api/cases/{name}/look", headers=ANN).json()
    assert verdict["accepted"]
    assert verdict["title"].startswith("Will be read: ")


def test_t4_what_is_no_scan_is_refused_with_the_reason_and_not_kept(client: TestClient) -> None:
    name = upload(client, b"<html><script>alert(1)</script></html>", ANN)
    verdict = client.post(f"/api/cases/{name}/look", headers=ANN).json()
    assert not verdict["accepted"]
    assert verdict["title"].startswith("This cannot be read: ")
    assert "<script>" not in str(verdict)
    assert client.post(f"/api/cases/{name}/read", json={}, headers=ANN).status_code == 409


@pytest.mark.parametrize(("files", "size"), [(0, 10), (20_001, 10), (1, 0), (1, 5 << 30), (-1, -1)])
def test_t4_too_much_is_refused_before_it_arrives(client: TestClient, files: int, size: int) -> None:
    answer = client.post("/api/cases", json={"files": files, "bytes": size}, headers=ANN)
    assert answer.status_code == 413
    assert "study" in answer.json()["message"]


def test_t4_more_than_was_announced_is_not_kept(client: TestClient) -> None:
    name = client.post("/api/cases", json={"files": 1, "bytes": 10}, headers=ANN).json()["id"]
    assert client.put(f"/api/cases/{name}/files/1", content=b"x" * 11, headers=ANN).status_code == 413
    assert client.put(f"/api/cases/{name}/files/2", content=b"x", headers=ANN).status_code == 413
    assert client.put(f"/api/cases/{name}/files/1", content=b"x" * 10, headers=ANN).status_code == 200


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"files": "a"}', b'{"files": 1, "bytes": 1, "path": "/etc"}'])
def test_a_request_that_is_not_understood_is_refused(client: TestClient, body: bytes) -> None:
    assert client.post("/api/cases", content=body, headers=ANN).status_code == 422
    assert client.post("/api/cases", content=b" " * 70_000, headers=ANN).status_code == 413
