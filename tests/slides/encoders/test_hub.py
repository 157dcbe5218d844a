"""Weights of the hub, against a hub of our own on loopback that speaks as the real one does."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from safetensors.torch import save

from slidesurv.errors import ConfigError
from slidesurv.slides.encoders.base import encoders, open_encoder
from slidesurv.slides.encoders.vit import UNI

library = pytest.importorskip("huggingface_hub", reason="the extra slides is not installed")
constants = library.constants
COMMIT = "c0ffee" * 6 + "0000"


class Hub(BaseHTTPRequestHandler):
    """Has one file for one repository, and a closed gate before another."""

    content = b""
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        self.asked.append(self.path)
        if "Virchow2" in self.path:
            self.reply(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
        elif self.path.endswith("UNI/resolve/main/pytorch_model.bin"):
            self.reply(200, {"ETag": f'"{hashlib.sha256(self.content).hexdigest()}"'}, self.content)
        else:
            self.reply(404, {"X-Error-Code": "EntryNotFound"})

    def reply(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "X-Repo-Commit": COMMIT, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[type[Hub]]:
    monkeypatch.setattr(Hub, "asked", [], raising=False)
    monkeypatch.setattr(Hub, "content", b"weights")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, here)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", here)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield Hub
        server.shutdown()


def test_weights_are_fetched_when_asked_and_found_without_the_network_after(hub):
    found = UNI.find(network=True)
    assert found.path.read_bytes() == b"weights" and found.revision == COMMIT
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()
    asked = len(hub.asked)
    assert UNI.find(network=False) == found == UNI.find(network=True)
    assert len(hub.asked) == asked


def test_nothing_is_asked_of_the_network_unless_it_may_be_used(hub, monkeypatch):
    with pytest.raises(ConfigError, match=r"ask at https://huggingface.co/MahmoodLab/UNI. Run 'slidesurv weights uni'"):
        open_encoder("uni")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is not set"):
        open_encoder("uni", network=True)
    assert hub.asked == []


def test_a_closed_gate_is_said_before_any_byte_of_weights(hub):
    with pytest.raises(ConfigError, match=r"Ask for access at https://huggingface.co/paige-ai/Virchow2, .* --weights"):
        open_encoder("virchow2", network=True)
    assert [path for path in hub.asked if "resolve" in path] == ["/paige-ai/Virchow2/resolve/main/model.safetensors"]


def test_a_repository_without_weights_is_named(hub):
    with pytest.raises(ConfigError, match=r"https://huggingface.co/bioptimus/H0-mini has no 'model.safet"):
        open_encoder("h0-mini", network=True)


def test_a_file_in_the_cache_is_encoded_with_and_its_commit_recorded(hub, small_uni, tiles):
    place = Path(constants.HF_HUB_CACHE) / "models--MahmoodLab--UNI"
    (place / "refs").mkdir(parents=True)
    (place / "refs/main").write_text(COMMIT)
    (place / f"snapshots/{COMMIT}").mkdir(parents=True)
    (place / f"snapshots/{COMMIT}/model.safetensors").write_bytes(save(small_uni.state_dict()))
    encoder = open_encoder("uni")
    assert encoder.encode(tiles).shape == (5, 32)
    assert encoder.provenance["encoder_revision"] == COMMIT


def test_where_the_hub_cannot_be_reached_that_is_said(hub, monkeypatch):
    def unreachable(*_: object, **__: object) -> None:
        raise library.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(library, "hf_hub_download", unreachable)
    with pytest.raises(ConfigError, match="cannot be reached for the weights of encoder 'phikon-v2'"):
        open_encoder("phikon-v2", network=True)


def test_only_gated_encoders_speak_of_access(hub):
    with pytest.raises(ConfigError) as open_:
        open_encoder("phikon-v2")
    assert not encoders["phikon-v2"].gated and "access" not in str(open_.value)
