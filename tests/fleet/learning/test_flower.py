"""Rounds over Flower's own programs: a SuperLink with TLS, SuperNodes with keys of their own.

Flower stands in an environment of its own, which `make flower` makes; this test drives it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from listen_embed import Embedder
from listen_embed.fleet import keys
from listen_embed.fleet.learning import local
from listen_embed.fleet.learning.files import load_start, read_samples
from listen_embed.fleet.learning.layout import Agreement
from listen_embed.fleet.learning.node import Node
from listen_embed.fleet.learning.prior import Prior
from listen_embed.fleet.learning.record import Record
from listen_embed.fleet.learning.reptile import Plan

from ...monitor.test_broker import certificate
from ...monitor.world import SPAWNED, eventually, free_port, write_wav

ROOT = Path(__file__).parents[3]
PROGRAMS = ROOT / ".flower" / "bin"
APP = ROOT / "examples" / "flower"
EMBEDDER, RATE = "sea/32/nano", 16_000
LABELS = {"idle": 200.0, "drilling": 900.0, "milling": 2500.0}
NAMES = ("n0", "n1", "n2")
LONGEST_S = 150.0


@dataclass
class Flower:
    """A SuperLink, and what its SuperNodes and users need to reach it."""

    folder: Path
    port: int = field(default_factory=free_port)

    def start(self, program: str, *arguments: object) -> Path:
        """Start a program of Flower's; return where it writes what it says."""
        log = self.folder / f"{program}-{len(SPAWNED)}.log"
        with open(log, "wb") as file:
            command = [PROGRAMS / program, *arguments]
            SPAWNED.append(
                subprocess.Popen(
                    list(map(str, command)), env=self.environment, stdout=file,
                    stderr=subprocess.STDOUT, text=True, cwd=self.folder,
                )
            )  # fmt: skip
        return log

    def ask(self, *arguments: object) -> str:
        """Run `flwr` and return what it says."""
        done = subprocess.run(
            list(map(str, [PROGRAMS / "flwr", *arguments])), env=self.environment,
            capture_output=True, text=True, timeout=LONGEST_S, cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """What its programs find each other and nobody else by."""
        return os.environ | {
            "FLWR_HOME": str(self.folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }

    def open(self) -> None:
        """Start the SuperLink and wait until it answers."""
        self.log = self.start(
            "flower-superlink", "--host", "127.0.0.1", "--port", self.port,
            "--enable-supernode-auth", "--disable-runtime-dependency-installation",
            "--ssl-ca-certfile", self.folder / "ca.crt",
            "--ssl-certfile", self.folder / "server.crt",
            "--ssl-keyfile", self.folder / "server.key",
        )  # fmt: skip
        (self.folder / "flwr").mkdir()
        (self.folder / "flwr" / "config.toml").write_text(
            f'[superlink]\ndefault = "fleet"\n\n[superlink.fleet]\n'
            f'address = "127.0.0.1:{self.port}"\nroot-certificates = "{self.folder}/ca.crt"\n'
        )
        eventually(lambda: "Uvicorn running" in self.log.read_text(), 60)

    def add_key(self, name: str) -> None:
        """Make a SuperNode's key."""
        key = ec.generate_private_key(ec.SECP384R1())
        (self.folder / name).write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        )
        (self.folder / f"{name}.pub").write_bytes(
            key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        )

    def add_node(self, name: str, config: dict[str, object]) -> Path:
        """Start a SuperNode; return where it writes what it says."""
        told = " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        return self.start(
            "flower-supernode", "--superlink", f"127.0.0.1:{self.port}",
            "--root-certificates", self.folder / "ca.crt", "--port", free_port(),
            "--auth-supernode-private-key", self.folder / name, "--node-config", told,
        )  # fmt: skip


def record_sounds(folder: Path, seed: int) -> None:
    """Write three clips of each label, as one device hears them."""
    chance = np.random.default_rng(seed)
    shade = chance.uniform(0.8, 1.25)
    for label, pitch in LABELS.items():
        (folder / label).mkdir(parents=True)
        for number in range(3):
            t = np.arange(RATE) / RATE
            sound = 0.2 * np.sin(2 * np.pi * pitch * shade * t) + 0.05 * chance.normal(size=RATE)
            write_wav(folder / label / f"{number}.wav", sound.astype(np.float32), RATE)


def by_own_arithmetic(folder: Path, rounds: int) -> np.ndarray:
    """Return the start that rounds of these nodes in one process end with."""
    embedder = Embedder(EMBEDDER, threads=1)
    model = Prior(embedder.spec.emb_dim, len(LABELS))
    agreement = Agreement(model.kind, model.layout, EMBEDDER, embedder.digest, tuple(LABELS))
    nodes = []
    for name in NAMES:
        x, labels = read_samples(folder / "sounds" / name, embedder)
        codes = np.array([list(LABELS).index(label) for label in labels])
        nodes.append(Node(name, model, agreement, x, codes))
    return local.run(model, agreement, lambda _: nodes, Plan(rounds, 1.0, 0.5)).vector


@pytest.fixture(autouse=True)
def _is_there() -> None:
    if not (PROGRAMS / "flower-superlink").exists():
        pytest.skip("Flower is not there; make flower installs it into .flower/")


@pytest.fixture
def flower(tmp_path: Path) -> Iterator[Flower]:
    authority = certificate(tmp_path, "ca", None)
    certificate(tmp_path, "server", authority)
    made = Flower(tmp_path)
    made.open()
    yield made
    for process in reversed(SPAWNED):
        process.terminate()
    for process in SPAWNED:
        process.wait(20)


def test_two_rounds_with_three_registered_supernodes(flower: Flower, tmp_path: Path) -> None:
    public = {
        name: keys.as_text(keys.public(keys.make(tmp_path / f"{name}.pem")))
        for name in ("coordinator", *NAMES)
    }
    members = "\n".join(f'{name} = "{public[name]}"' for name in NAMES)
    (tmp_path / "members.toml").write_text(f"[members]\n{members}\n")
    for name in (*NAMES, "stranger"):
        flower.add_key(name)
    for number, name in enumerate(NAMES):
        flower.ask("supernode", "register", tmp_path / f"{name}.pub")
        record_sounds(tmp_path / "sounds" / name, number)

    def node(key: str, name: str) -> Path:
        return flower.add_node(
            key,
            {
                "name": name, "key": str(tmp_path / f"{name}.pem"),
                "coordinator": public["coordinator"], "embedder": EMBEDDER,
                "samples": str(tmp_path / "sounds" / name),
            },
        )  # fmt: skip

    for name in NAMES:
        node(name, name)
    refused = node("stranger", "n0")
    run = {
        "key": tmp_path / "coordinator.pem", "members": tmp_path / "members.toml",
        "journal": tmp_path / "fleet.sqlite", "out": tmp_path / "start.npz",
        "embedder": EMBEDDER, "labels": ",".join(LABELS),
    }  # fmt: skip
    (tmp_path / "run.toml").write_text("\n".join(f'{k} = "{v}"' for k, v in run.items()))
    asked = flower.ask("run", APP, "--format", "json", "--run-config", tmp_path / "run.toml")
    eventually((tmp_path / "start.npz").exists, LONGEST_S)

    said = flower.ask("log", json.loads(asked)["run-id"], "--show")
    for round_ in range(2):
        assert f"round {round_} is over, updates let in: 3" in said
    record = Record(tmp_path / "fleet.sqlite")
    assert record.remarks() == []
    record.close()
    agreement, start = load_start(tmp_path / "start.npz")
    assert (start.round, agreement.labels) == (2, tuple(LABELS))
    assert np.array_equal(start.vector, by_own_arithmetic(tmp_path, 2))
    assert "No SuperNode found with the given public key" in flower.log.read_text()
    assert "Failed to activate SuperNode" in refused.read_text()


PRIVATE = """
import json
import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from listen_embed.errors import InputError
from listen_embed.fleet.learning.flower import Private, privacy
from listen_embed.fleet.learning.network import Network, Way

TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
network, way = Network((30, 30, 3), "labels"), Way()
chance = np.random.default_rng(0)
x, y = chance.normal(size=(30, 30)).astype(np.float32), chance.integers(0, 3, 30)
start, rates = network.begin(0), np.full(4, 0.3, np.float32)
message = Message(content=RecordDict(), message_type="train", dst_node_id=1)
context = Context(1, 1, {}, RecordDict(), {})
found = [(network.learn(start, x, y, rates, way).vector - start).tolist()]
for epsilon in (1e9, 1.0):
    config = {"dp-clip": 0.5, "dp-epsilon": epsilon, "dp-delta": 1e-5}
    private = Private(network, privacy(config), message, context)
    learnt = private.learn(start, x, y, rates, way)
    assert not learnt.signals.any()
    found.append((learnt.vector - start).tolist())
still = private.learn(start, x, y, 0 * rates, way).vector
assert np.isfinite(still).all() and np.std(still - start) > 1
try:
    privacy({"dp-clip": 1.0, "dp-epsilon": 0, "dp-delta": 1e-5})
except InputError as error:
    print(json.dumps([found, str(error)]))
"""


def test_flowers_mod_clips_updates_and_adds_noise_before_they_are_signed() -> None:
    done = subprocess.run(
        [PROGRAMS / "python", "-c", PRIVATE], capture_output=True, text=True, timeout=60,
        env=os.environ | {"FLWR_TELEMETRY_ENABLED": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, said = json.loads(done.stdout.splitlines()[-1])
    plain, clipped, noisy = map(np.array, found)
    assert np.linalg.norm(plain) > 0.6
    assert clipped == pytest.approx(0.5 * plain / np.linalg.norm(plain), abs=1e-5)
    # The Gaussian mechanism's; any two updates are 1 apart at most.
    assert noisy.std() == pytest.approx(np.sqrt(2 * np.log(1.25 / 1e-5)), rel=0.1)
    assert said.startswith("dp-epsilon is 0; give a number above 0")
