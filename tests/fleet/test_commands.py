"""The fleet on the command line, from describing to taking back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from listen_embed.cli import main
from listen_embed.fleet import keys
from listen_embed.fleet.things.describe_device import describe_device
from listen_embed.heads import OnlineClassifier

from ..monitor.world import SPAWNED, Broker, end_all, eventually, spawn
from .things.world import NANO, board, ram, with_memory

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    end_all()


def test_a_device_and_a_model_are_described(capsys: Captured) -> None:
    assert main(["fleet", "describe", "nano33", "--name", "seven", "--microphone", "x=8000"]) == 0
    device = json.loads(capsys.readouterr().out)
    assert device["id"] == "urn:listen-embed:thing:seven"
    assert [one.get("rdfs:label") for one in device["ssn:hasSubSystem"]] == [None, "MP34DT05", "x"]
    assert main(["fleet", "describe", "this"]) == 0
    assert json.loads(capsys.readouterr().out)["@type"] == "s3n:SmartSensor"
    assert main(["fleet", "describe", NANO]) == 0
    assert json.loads(capsys.readouterr().out)["schema:name"] == NANO
    assert main(["fleet", "describe", "nano34"]) == 1


def test_a_match_says_why_not(capsys: Captured, tmp_path: Path) -> None:
    for device in (board("good"), board("deaf", microphones=()), board("small", ram=10)):
        (tmp_path / f"{device.title}.jsonld").write_text(json.dumps(describe_device(device)))
    assert main(["fleet", "match", NANO, "--why", "--things", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"good  {NANO}  c-float, c-fixed\n" in said
    assert f"deaf  {NANO}  no\n    c-fixed: microphone: needs one of 16,000 Hz, has none\n" in said
    assert "c-fixed: RAM: needs 19,428 bytes, has 10: 19,418 too few" in said
    assert main(["fleet", "match", NANO, "--things", str(tmp_path / "small.jsonld")]) == 1
    assert "RAM" not in capsys.readouterr().out


def test_a_description_that_is_not_clear_is_named_with_its_file(
    capsys: Captured, tmp_path: Path
) -> None:
    (tmp_path / "wrong.jsonld").write_text(json.dumps(with_memory(ram("64"))))
    assert main(["fleet", "match", NANO, "--things", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "wrong.jsonld: one: RAM is 64 without a unit" in said
    assert main(["fleet", "match", NANO, "--things", str(tmp_path / "none")]) == 1
    assert "none: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_a_registry_keeps_and_answers(capsys: Captured, tmp_path: Path) -> None:
    file, store = tmp_path / "one.jsonld", str(tmp_path / "store")
    file.write_text(json.dumps(describe_device(board())))
    assert main(["fleet", "registry", "--store", store, "--things", str(file)]) == 0
    assert capsys.readouterr().out == "1 devices, 0 models\n"
    query = "SELECT ?ram { ?d a s3n:SmartSensor ; le:ram ?ram }"
    assert main(["fleet", "registry", "--store", store, "--sparql", query]) == 0
    assert json.loads(capsys.readouterr().out) == [{"ram": "240000"}]
    assert main(["fleet", "registry", "--store", store]) == 1
    assert "give --things or --models to add" in capsys.readouterr().err


def test_c_is_exported_for_the_devices_that_are_meant(capsys: Captured, tmp_path: Path) -> None:
    key, out = str(tmp_path / "key"), tmp_path / "out"
    assert main(["fleet", "key", key]) == 0
    to = ["--to", "*nano*", "--key", key, "--export", str(out)]
    thing = tmp_path / "nano.jsonld"
    thing.write_text(json.dumps(describe_device(board("nano 7", has_fpu=False))))
    assert main(["fleet", "deploy", NANO, *to, "--things", str(thing)]) == 0
    assert capsys.readouterr().out.endswith(f"nano 7: {out / 'c-fixed'}\n")
    assert (out / "nano 7.manifest.json").is_file()
    assert (out / "c-fixed" / "src" / "listen_model.h").is_file()


def test_deploy_status_and_rollback_with_real_agents(
    capsys: Captured, tmp_path: Path, broker: Broker
) -> None:
    public, members = keys.make(tmp_path / "key"), tmp_path / "members.toml"
    url, listed = f"{broker.url}/fleet", ["--members", str(members)]
    key = [*listed, "--key", str(tmp_path / "key")]
    OnlineClassifier().learn(np.eye(3), ["off", "saw", "off"]).save(tmp_path / "learnt.npz")
    lines = ["[members]"]
    for name in ("east", "west"):
        own = keys.public(keys.make(tmp_path / f"{name}.key"))
        lines.append(f'{name} = "{keys.as_text(own)}"')
        spawn(
            "-m", "listen_embed.cli", "fleet", "agent", "--mqtt", url, "--trust", public,
            "--key", tmp_path / f"{name}.key", "--learns", tmp_path / "learnt.npz",
            "--models", tmp_path / name, "--name", name, "--microphone", "usb=48000",
        )  # fmt: skip
    members.write_text("\n".join(lines))

    def statuses() -> list[dict[str, object]]:
        capsys.readouterr()
        assert main(["fleet", "status", "--mqtt", url, "--json", *listed]) == 0
        return list(json.loads(capsys.readouterr().out))

    eventually(lambda: [one["online"] for one in statuses()] == [True, True], 120)
    assert main(["fleet", "rollback", "--to", "*", "--mqtt", url, *key]) == 1
    assert "east: has no model to go back to" in capsys.readouterr().out
    assert main(["fleet", "deploy", NANO, "--to", "*", "--mqtt", url, *key, "--dry-run"]) == 0
    assert capsys.readouterr().out == "east: would get it\nwest: would get it\n"
    assert main(["fleet", "deploy", NANO, "--to", "*", "--mqtt", url, *key]) == 0
    assert "2 of 2 devices done" in capsys.readouterr().out
    assert main(["fleet", "deploy", "listen/64/workshop", "--to", "east", "--mqtt", url, *key]) == 0
    assert [one["model"] for one in statuses()] == ["listen/64/workshop", NANO]
    assert main(["fleet", "rollback", "--to", "*", "--mqtt", url, *key]) == 0
    said = capsys.readouterr().out
    assert "west: has no model to go back to" in said
    assert "1 of 1 devices done" in said
    assert main(["fleet", "status", "--mqtt", url, *listed]) == 0
    said = capsys.readouterr().out
    assert f"east  online  {NANO} (sequence " in said and "off, saw: 3 samples" in said
    members.write_text("\n".join(lines[:2]))
    assert main(["fleet", "status", "--mqtt", url, *listed]) == 0
    assert (
        "west  online  no model (sequence 0)  unknown  the status of 'west', who is not among"
        in (capsys.readouterr().out)
    )
    members.write_text("\n".join(lines))
    for process in SPAWNED:
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0
    eventually(lambda: [one["online"] for one in statuses()] == [False, False], 60)


def test_a_query_that_means_nobody_is_an_error(
    capsys: Captured, broker: Broker, tmp_path: Path
) -> None:
    url, members = f"{broker.url}/fleet", tmp_path / "members.toml"
    ask = ["fleet", "deploy", NANO, "--to", "x", "--mqtt", url, "--members", str(members)]
    assert main([*ask, "--dry-run"]) == 1
    assert "no members can be read" in capsys.readouterr().err
    public = keys.as_text(keys.public(keys.make(tmp_path / "key")))
    members.write_text(f'[members]\neast = "{public}"')
    assert main([*ask, "--dry-run"]) == 1
    assert "'x' means none of the 0 devices" in capsys.readouterr().err
    assert main(["fleet", "rollback", "--to", "x"]) == 1
    assert "give --mqtt mqtt" in capsys.readouterr().err
