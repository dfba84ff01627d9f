"""One file for every option: read, checked, overridden by what is given besides."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from listen_embed.errors import InputError
from listen_embed.monitor.config import MonitorConfig, make_config, read_config

from .world import ROOT, eventually, finished, free_port, monitor, sound, write_wav

EXAMPLE = ROOT / "examples/monitor/monitor.toml"


def test_the_example_names_every_option_with_its_usual_value() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    config = read_config(EXAMPLE, {})
    for field in fields(MonitorConfig):
        assert f"{field.name} = " in text, field.name
    assert config.hop_s == MonitorConfig("a", "b").hop_s


def test_what_is_given_besides_counts(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('head = "m.npz"\nsource = "mic:"\nhop_s = 0.2\nring_s = 30')
    config = read_config(tmp_path / "m.toml", {"hop_s": 0.5, "mqtt": ["mqtt://h/t"]})
    assert (config.head, config.hop_s, config.ring_s) == ("m.npz", 0.5, 30)
    assert config.mqtt == ["mqtt://h/t"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("head = 'a'", "source is missing; give it in the file, or --from"),
        ("sorce = 'a'", "do you mean 'source'"),
        ("xyz = 1", "there are head, source"),
        ("hop_s = 'fast'", "give a number"),
        ("threads = true", "give a whole number"),
        ("mqtt = 'mqtt://h/t'", "give a list of texts"),
        ("name = 5", "give a text"),
        ("head = 'a'\nsource = 'b'\nhop_s = 0", "from 0.001 to 3600"),
        ("head = ", "no TOML file"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(InputError, match=complaint) as caught:
        read_config(tmp_path / "m.toml", {})
    assert str(tmp_path) in str(caught.value) or "from 0.001" in complaint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: No such file"):
        read_config(tmp_path / "none.toml", {})


@pytest.mark.parametrize("name", ["hop_s", "debounce_s", "heartbeat_s", "checkpoint_s", "ring_s"])
def test_numbers_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is .*; give seconds from"):
        make_config({"head": "a", "source": "b", name: 1e9})


def test_check_config_says_what_would_run(tmp_path: Path, machine_file: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", sound(("low", 1.0)))
    file = tmp_path / "m.toml"
    lines = f"head = '{machine_file}'\nsource = '{wav}'\njournal = '{tmp_path}/j'\n"
    file.write_text(f"{lines}jsonl = ['-']\npage = '127.0.0.1:8777'\n")
    said = finished(monitor("check-config", file))
    assert "source:  file:a.wav" in said
    assert "sink:    -" in said
    assert "page:    127.0.0.1:8777" in said
    assert not (tmp_path / "j").exists()
    file.write_text(f"{lines}page = '0.0.0.0:8777'\n")
    process = monitor("check-config", file)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, "give --token" in error) == (1, True)
    file.write_text(f"{lines}")
    assert finished(monitor("run", "--config", file, "--jsonl", "-")).count("started") == 1


def test_a_running_monitor_is_asked_whether_it_hears(tmp_path: Path, machine_file: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", sound(("low", 60.0), rate=16000), 16000)
    port, file = free_port(), tmp_path / "m.toml"
    lines = f"head = '{machine_file}'\nsource = '{wav}?pace=1'\njournal = '{tmp_path}/j'\n"
    file.write_text(f"{lines}page = '127.0.0.1:{port}'\ntoken = '0123456789abcdef'\n")
    process = monitor("healthy", file)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, "no monitor answers" in error) == (1, True)
    running = monitor("run", "--config", file)

    def hears() -> bool:
        asked = monitor("healthy", file)
        said, _ = asked.communicate(timeout=30)
        return asked.returncode == 0 and '"ok":true' in said.replace(" ", "")

    eventually(hears, 60.0)
    running.terminate()
    finished(running)
