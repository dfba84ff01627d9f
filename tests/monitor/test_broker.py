"""Connections to a real broker: passwords, TLS, protocols, addresses."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from listen_embed.errors import InputError
from listen_embed.monitor import broker as broker_
from listen_embed.monitor.broker import parse
from listen_embed.monitor.events import SinkError
from listen_embed.monitor.sinks.mqtt import JsonSink

from .world import Broker, entry, free_port


def test_passwords(
    make_broker: Callable[..., Broker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    from .world import needs

    (tmp_path / "users").touch()
    subprocess.run(
        [needs("mosquitto_passwd"), "-b", str(tmp_path / "users"), "ann", "s3cret/@"],
        check=True,
        capture_output=True,
    )
    (tmp_path / "users").chmod(0o600)
    broker = make_broker(f"password_file {tmp_path / 'users'}", "false")
    (tmp_path / "pw").write_text("s3cret/@\n")
    host = f"127.0.0.1:{broker.port}"
    for url in (
        f"mqtt://ann:s3cret%2F%40@{host}/m",
        f"mqtt://ann@{host}/m?passwordfile={tmp_path}/pw",
    ):
        sink = JsonSink(url, "run")
        sink.send([entry(1)])
        sink.close()
        assert "s3cret" not in sink.name + repr(sink._address)
    monkeypatch.setattr(broker_, "_CONNECT_S", 1.0)
    wrong = JsonSink(f"mqtt://ann:wrong@{host}/m", "run")
    with pytest.raises(SinkError, match="no connection"):
        wrong.send([entry(1)])
    wrong.close()


def certificate(
    folder: Path,
    name: str,
    signer: tuple[object, object] | None,
    address: str = "127.0.0.1",
    days: int = 1,
) -> tuple[object, object]:
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    issuer_key, issuer = (key, subject) if signer is None else (signer[0], signer[1].subject)
    certificate = (
        x509.CertificateBuilder(
            issuer,
            subject,
            key.public_key(),
            x509.random_serial_number(),
            now - datetime.timedelta(days=9),
            now + datetime.timedelta(days=days),
        )
        .add_extension(names, False)
        .add_extension(x509.BasicConstraints(signer is None, None), True)
        .sign(issuer_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key, certificate


# paho leaves the sockets of failed handshakes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_with_client_certificates(
    make_broker: Callable[..., Broker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = certificate(tmp_path, "ca", None)
    certificate(tmp_path, "server", authority)
    certificate(tmp_path, "client", authority)
    certificate(tmp_path, "stranger", None)
    broker = make_broker(
        f"cafile {tmp_path}/ca.crt\ncertfile {tmp_path}/server.crt\n"
        f"keyfile {tmp_path}/server.key\nrequire_certificate true"
    )
    base = f"mqtts://127.0.0.1:{broker.port}/m"
    ours = f"cert={tmp_path}/client.crt&key={tmp_path}/client.key"
    sink = JsonSink(f"{base}?ca={tmp_path}/ca.crt&{ours}", "run")
    sink.send([entry(1)])
    sink.close()
    monkeypatch.setattr(broker_, "_CONNECT_S", 1.0)
    for refused, why in (
        (f"{base}?ca={tmp_path}/stranger.crt&{ours}", "unknown authority"),
        (f"{base}?ca={tmp_path}/ca.crt", "no connection"),
        (f"{base}?{ours}", "unknown authority"),
    ):
        sink = JsonSink(refused, "run")
        with pytest.raises(SinkError, match=why):
            sink.send([entry(1)])
        sink.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("wrong", "why"),
    [({"days": -1}, "certificate has expired.*clock"), ({"address": "10.0.0.9"}, "another name")],
)
def test_a_tls_failure_says_why(
    make_broker: Callable[..., Broker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, object],
    why: str,
) -> None:
    authority = certificate(tmp_path, "ca", None)
    certificate(tmp_path, "server", authority, **wrong)
    broker = make_broker(f"certfile {tmp_path}/server.crt\nkeyfile {tmp_path}/server.key")
    monkeypatch.setattr(broker_, "_CONNECT_S", 1.0)
    sink = JsonSink(f"mqtts://127.0.0.1:{broker.port}/m?ca={tmp_path}/ca.crt", "run")
    with pytest.raises(SinkError, match=why):
        sink.send([entry(1)])
    sink.close()


def test_nobody_at_the_other_end_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_, "_CONNECT_S", 1.0)
    sink = JsonSink(f"mqtt://127.0.0.1:{free_port()}/m", "run")
    with pytest.raises(SinkError, match="Connection refused"):
        sink.send([entry(1)])
    sink.close()


def test_protocol_3_works_too(broker: Broker) -> None:
    sink = JsonSink(f"{broker.url}/m?protocol=3", "run")
    sink.send([entry(1)])
    sink.close()


@pytest.mark.parametrize(
    "url", ["http://h/t", "mqtt://h", "mqtt:///t", "mqtt://h/a/#", "mqtt://h:x/t", "mqtt://h/t?x=1"]
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        parse(url)


def test_ports_and_names() -> None:
    assert parse("mqtt://h/a/b").name == "mqtt://h:1883/a/b"
    assert parse("mqtts://u:p@h/a").name == "mqtts://h:8883/a"
