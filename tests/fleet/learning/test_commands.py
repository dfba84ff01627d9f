"""The room's commands, as processes."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from listen_embed import Embedder, cli
from listen_embed.fleet.learning.files import load_start, save_start
from listen_embed.fleet.learning.layout import Agreement
from listen_embed.fleet.learning.network import Way
from listen_embed.fleet.learning.node import Start
from listen_embed.fleet.learning.prior import Prior
from listen_embed.fleet.learning.record import Record

from ...monitor.world import Broker, eventually, finished, spawn
from .world import LABELS

EMBEDDER = "logmel/128/16k"


@pytest.fixture
def members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Make keys and samples of two nodes; return the coordinator's public key."""
    said = {}
    for name in ("coordinator", "n0", "n1"):
        assert cli.main(["fleet", "key", str(tmp_path / f"{name}.pem")]) == 0
        said[name] = capsys.readouterr().out.strip()
    lines = [f'{name} = "{said[name]}"' for name in ("n0", "n1")]
    (tmp_path / "members.toml").write_text("\n".join(["[members]", *lines]))
    for number in range(2):
        chance = np.random.default_rng(number)
        codes = np.arange(40) % 4
        x = chance.normal(size=(4, 128))[codes] + 0.3 * chance.normal(size=(40, 128))
        labels = np.array(LABELS)[codes]
        np.savez(tmp_path / f"n{number}.npz", embeddings=x.astype(np.float32), labels=labels)
    return said["coordinator"]


def program(*arguments: object) -> object:
    return spawn("-m", "listen_embed.cli", *arguments)


def test_a_killed_coordinator_goes_on(
    make_broker: Callable[..., Broker], members: str, tmp_path: Path
) -> None:
    url, journal = f"{make_broker().url}/fleet", tmp_path / "fleet.sqlite"

    def serve(out: str) -> object:
        return program(
            "fleet", "serve", "--broker", url, "--key", tmp_path / "coordinator.pem", "--members",
            tmp_path / "members.toml", "--embedder", EMBEDDER, "--labels", *LABELS, "--rounds", 60,
            "--wait-for", 2, "--timeout", 3, "--journal", journal, "--out", tmp_path / out,
        )  # fmt: skip

    killed = serve("never.npz")
    nodes = [
        program(
            "fleet", "node", "--broker", url, "--name", name, "--key", tmp_path / f"{name}.pem",
            "--coordinator", members, "--embedder", EMBEDDER,
            "--samples", tmp_path / f"{name}.npz", "--out", tmp_path / f"{name}-start.npz",
        )
        for name in ("n0", "n1")
    ]  # fmt: skip
    eventually(journal.exists, 60)
    eventually(lambda: round_of(journal) >= 2, 60)
    killed.kill()
    killed.communicate()
    before = round_of(journal)
    assert 2 <= before < 60 and not (tmp_path / "never.npz").exists()
    out = finished(serve("start.npz"))
    assert f"round {before} is over" in out and f"round {before - 2} is over" not in out
    for node in nodes:
        finished(node)
    agreement, start = load_start(tmp_path / "start.npz")
    assert agreement.labels == LABELS and start.round == 60
    for name in ("n0", "n1"):
        assert np.array_equal(load_start(tmp_path / f"{name}-start.npz")[1].vector, start.vector)


def round_of(journal: Path) -> int:
    record = Record(journal)
    try:
        kept = record.state()
        return -1 if kept is None else kept[0].round
    finally:
        record.close()


def test_a_key_is_its_owners_and_is_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.pem"
    assert cli.main(["fleet", "key", str(path)]) == 0
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    before = path.read_bytes()
    assert cli.main(["fleet", "key", str(path)]) == 1
    assert "a key is not replaced" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--key", "nothing.pem"], "cannot be read"),
        (["--coordinator", "x"], "is no public key"),
        (["--samples", "nothing.npz"], "holds no labelled embeddings that can be read"),
        (["--top", "2"], "top is 2.0"),
        (["--broker", "http://x/y"], "is no MQTT address"),
        (["--name", "a+b"], "the node's name is 'a+b'"),
    ],
)
def test_a_node_that_cannot_begin_says_why(
    change: list[str], said: str, members: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "--broker": "mqtt://127.0.0.1:1/fleet", "--name": "n0", "--key": str(tmp_path / "n0.pem"),
        "--coordinator": members, "--samples": str(tmp_path / "n0.npz"), "--embedder": EMBEDDER,
        "--out": str(tmp_path / "out.npz"),
    } | {change[0]: change[1]}  # fmt: skip
    begun = time.monotonic()
    arguments = [text for pair in given.items() for text in pair]
    assert cli.main(["fleet", "node", *arguments]) == 1
    assert said in capsys.readouterr().err
    assert time.monotonic() - begun < 10 and not (tmp_path / "out.npz").exists()


def test_a_learnt_prior_becomes_a_classifier_in_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embedder = Embedder("sea/32/nano", threads=1)
    model = Prior(32, 2)
    chance = np.random.default_rng(0)
    x, codes = chance.normal(size=(20, 32)).astype(np.float32), np.arange(20) % 2
    vector = model.learn(model.begin(0), x, codes, np.zeros(3, np.float32), Way()).vector
    for digest, name in ((embedder.digest, "start.npz"), ("0" * 64, "old.npz")):
        agreed = Agreement(model.kind, model.layout, embedder.spec.name, digest, ("off", "on"))
        save_start(tmp_path / name, agreed, Start(3, vector, np.zeros(3, np.float32)))
    made = str(tmp_path / "online.npz")
    assert cli.main(["fleet", "head", str(tmp_path / "old.npz"), "--out", made]) == 1
    assert "no prior over this version of sea/32/nano" in capsys.readouterr().err
    assert cli.main(["fleet", "head", str(tmp_path / "start.npz"), "--out", made]) == 0
    out = str(tmp_path / "c")
    assert cli.main(["export", "c", "sea/32/nano", "--out", out, "--online", made]) == 0
    assert '"off"' in next(Path(out).rglob("listen_online_model.c")).read_text()
