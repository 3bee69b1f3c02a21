# SPDX-License-Identifier: Apache-2.0
"""Each sink against a fake receiver on a loopback port: what arrives, what nobody can inject, what happens then."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self

import attrs
import pytest
import trustme
from click.testing import CliRunner
from confluent_kafka import Consumer

from k8stokendetect import Alert, Finding, Severity
from k8stokendetect.cli import main
from k8stokendetect.errors import ConfigError, K8sTokenDetectError
from k8stokendetect.sinks import Sinks, delivery, open_all, posting
from k8stokendetect.sinks.cef import to_cef
from serving import FakeServer, some_alerts, written
from siem_schemas import ecs_errors, ocsf_errors

HOUR = timedelta(hours=1)
HOSTILE = (
    "<!channel> <https://evil.example|here> [x](https://evil.example) <at>all</at> a=b|c\\d\r\n\x1b[2J\u2028 "
    "`*_~&amp; @here"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hardly at all between attempts."""
    monkeypatch.setattr(delivery, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(delivery, "LONGEST_WAIT", 0.02)


@pytest.fixture(scope="module")
def alert() -> Alert:
    """Return an alert, critical, in which a client chose what it could."""
    worst = max(some_alerts(), key=lambda one: one.severity)
    event = attrs.evolve(worst.event, user=HOSTILE, user_agent=HOSTILE, request_uri=HOSTILE, name=HOSTILE)
    finding = attrs.evolve(worst.worst, event=event, summary=f"{HOSTILE} minted a token", severity=Severity.CRITICAL)
    return Alert.of([finding], "an-incident")


def opened(spec: str, **options: Any) -> tuple[Sinks, list[K8sTokenDetectError]]:
    """Open a sink, and collect its errors."""
    errors: list[K8sTokenDetectError] = []
    return open_all([spec], on_error=errors.append, patience=0.3, **options), errors


def send(spec: str, *alerts: Alert) -> list[K8sTokenDetectError]:
    """Send alerts to one sink, and return what went wrong."""
    sinks, errors = opened(spec)
    for alert in alerts:
        sinks.send(alert)
    sinks.close()
    return errors


def texts(value: Any, kind: str, of: str) -> Iterator[str]:
    """Yield the texts of all elements of a type, anywhere in a document."""
    if isinstance(value, dict):
        if value.get("type") == of:
            yield value[kind]
        for item in value.values():
            yield from texts(item, kind, of)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, kind, of)


def test_slack_gets_what_clients_chose_where_nothing_is_parsed(alert: Alert, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only in a preformatted part of a rich text block; the fallback text, which is markup, has our words alone."""
    with FakeServer() as fake:
        monkeypatch.setenv("SLACK_URL", fake.url)
        assert send("slack:env:SLACK_URL", alert) == []
    (document,) = fake.bodies()
    blocks = document.pop("blocks")

    assert "evil" not in json.dumps(document)
    assert "<" not in document["text"].replace("&lt;", "")
    assert document["mrkdwn"] is document["unfurl_links"] is False
    assert {block["type"] for block in blocks} == {"rich_text"}
    parts = {part["type"]: part["elements"] for part in blocks[0]["elements"]}
    assert set(parts) == {"rich_text_section", "rich_text_preformatted"}
    assert "evil" not in json.dumps(parts["rich_text_section"])
    assert [element["type"] for element in parts["rich_text_preformatted"]] == ["text"]
    assert "<!channel>" in parts["rich_text_preformatted"][0]["text"]
    assert "\x1b" not in parts["rich_text_preformatted"][0]["text"]


def test_teams_gets_what_clients_chose_where_nothing_is_parsed(alert: Alert, tmp_path: Path) -> None:
    """In runs of text, which take no Markdown; an address in a file."""
    with FakeServer((202, {})) as fake:
        (tmp_path / "url").write_text(f"{fake.url}\n")
        assert send(f"teams:file:{tmp_path / 'url'}", alert) == []
    card = fake.bodies()[0]["attachments"][0]["content"]

    assert {element["type"] for element in card["body"]} == {"RichTextBlock"}
    shown = list(texts(card, "text", "TextRun"))
    assert any("<at>all</at>" in text for text in shown)
    assert not [text for text in shown if not text.isprintable()]
    assert "evil" not in shown[0]
    assert "mentions" not in json.dumps(card)


def test_pagerduty_pages_once_for_an_incident_and_a_severity(alert: Alert, monkeypatch: pytest.MonkeyPatch) -> None:
    """An incident that gets worse is a page of its own."""
    monkeypatch.setenv("PD_KEY", "a-routing-key")
    medium = attrs.evolve(alert, findings=(attrs.evolve(alert.worst, severity=Severity.MEDIUM),))
    with FakeServer((202, {})) as fake:
        assert send(f"pagerduty:env:PD_KEY?url={fake.url}", alert, alert, medium) == []
    one, again, other = fake.bodies()

    assert one["routing_key"] == "a-routing-key"
    assert one["event_action"] == "trigger"
    assert one["dedup_key"] == again["dedup_key"] != other["dedup_key"]
    assert [one["payload"]["severity"], other["payload"]["severity"]] == ["critical", "warning"]
    assert len(one["payload"]["summary"]) <= 1024
    assert one["payload"]["summary"].isprintable()
    assert datetime.fromisoformat(one["payload"]["timestamp"]).tzinfo is not None


def test_a_webhook_gets_the_alert_with_a_key_and_a_token(alert: Alert, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key lets a receiver drop what it has; over HTTPS the certificate is checked."""
    monkeypatch.setenv("HOOK_TOKEN", "a-token-of-nobody")
    with FakeServer((204, {})) as fake:
        assert send(f"webhook:{fake.url}?token=env:HOOK_TOKEN", alert) == []
    path, headers, body = fake.got[0]

    assert path == "/hook/secret-part"
    assert headers["Authorization"] == "Bearer a-token-of-nobody"
    assert headers["Idempotency-Key"] == alert.fingerprint
    assert json.loads(body) == json.loads(json.dumps(alert.to_dict()))
    assert all(32 <= byte < 127 for byte in body)


def test_a_sink_is_tried_again_and_asked_when(alert: Alert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, as `Retry-After` says in seconds or as a date; what is refused for good is a dead letter at once."""
    waits: list[float] = []
    monkeypatch.setattr(delivery, "LONGEST_WAIT", 60.0)
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    answers = [(503, {}), (429, {"Retry-After": "7"}), (500, {"Retry-After": soon}), (429, {"Retry-After": "9999999"})]
    with FakeServer(*answers, (200, {})) as fake:
        sinks, errors = opened(f"webhook:{fake.url}", dead_letters=tmp_path / "dead")
        monkeypatch.setattr(sinks.stopping, "wait", waits.append)
        assert sinks.send(alert)
        fake.answers = [(404, {"Retry-After": "1"})]
        assert not sinks.send(alert)
        sinks.close()

    assert len(fake.got) == 6
    assert waits[0] <= 1
    assert waits[1] == 7
    assert 20 < waits[2] <= 60
    assert waits[3] == 60
    assert [str(error) for error in errors] == [
        f"sink webhook: answered 404; alert {alert.fingerprint} is a dead letter"
    ]
    (letter,) = [json.loads(line) for line in (tmp_path / "dead").read_text().splitlines()]
    assert (letter["sink"], letter["reason"], letter["alert"]["id"]) == ("webhook", "answered 404", alert.id)
    assert stat.S_IMODE((tmp_path / "dead").stat().st_mode) == 0o600


def test_a_sink_that_is_down_delays_only_the_first_alert(alert: Alert) -> None:
    """The others are tried once each; when it is back, it gets them again."""
    with FakeServer((503, {})) as fake:
        sinks, errors = opened(f"webhook:{fake.url}")
        sinks.send(alert)
        first = len(fake.got)
        for _ in range(5):
            sinks.send(alert)
        assert first > 1
        assert len(fake.got) == first + 5
        fake.answers = [(200, {})]
        assert sinks.send(alert)
        sinks.close()
    assert len(errors) == 6


@pytest.mark.parametrize(
    "answer", [(301, {"Location": "http://127.0.0.1:9/"}), (400, {}), (200, {"x": "y"})], ids=["moved", "bad", "good"]
)
def test_no_error_holds_the_address(answer: tuple[int, dict[str, str]], alert: Alert) -> None:
    """A webhook's address is its secret; it is not in a message, a repr, or what an exception chains."""
    with FakeServer(answer) as fake:
        sinks, errors = opened(f"webhook:{fake.url}")
        sinks.send(alert)
        shown = repr((sinks, sinks.deliveries, sinks.deliveries[0].sink, vars(sinks.deliveries[0].sink)))
        sinks.close()
    gone, more = opened(f"webhook:{fake.url}")
    gone.send(alert)
    gone.close()

    assert len(fake.got) == 1
    assert len(errors) == (answer[0] != 200)
    assert "no answer" in str(more[0])
    assert not [text for text in (*map(str, (*errors, *more)), shown) if "secret-part" in text]
    assert all(error.__context__ is None or error.__suppress_context__ for error in (*errors, *more))


class Listener:
    """Takes what a syslog sender sends on a loopback port.

    Arguments:
        context: for TLS.
        datagrams: UDP instead of TCP.

    """

    def __init__(self, context: ssl.SSLContext | None = None, *, datagrams: bool = False) -> None:
        kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(10)
        if not datagrams:
            self._socket.listen()
        self.port: int = self._socket.getsockname()[1]
        self._context = context
        self.got = b""
        self._thread = threading.Thread(target=self._datagram if datagrams else self._stream)

    def _datagram(self) -> None:
        self.got = self._socket.recv(65536)

    def _stream(self) -> None:
        connection, _ = self._socket.accept()
        connection.settimeout(10)
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            while part := connection.recv(65536):
                self.got += part

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(15)
        self._socket.close()


RFC5424 = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) [!-~]{1,255} k8stokendetect \d+ [!-~]{1,32} - ([ -~]+)",
    re.ASCII,
)


def frames(data: bytes) -> Iterator[bytes]:
    """Cut a stream with octet counting into its messages, RFC 6587."""
    while data:
        size, _, data = data.partition(b" ")
        yield data[: int(size)]
        data = data[int(size) :]


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_syslog_sends_whole_messages_one_after_the_other(transport: str, alert: Alert, tmp_path: Path) -> None:
    """RFC 5424 with octet counting: no character of a client ends a message, or begins one."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Listener(context if transport == "tls" else None) as listener:
        assert send(f"syslog:{transport}://127.0.0.1:{listener.port}?ca={tmp_path / 'ca.pem'}", alert, alert) == []
    messages = [RFC5424.fullmatch(message) for message in frames(listener.got)]

    assert len(messages) == 2
    for message in messages:
        assert message is not None
        assert int(message[1]) == 13 * 8 + 2
        assert json.loads(message[3])["fingerprint"] == alert.fingerprint


def test_syslog_over_udp_sends_what_fits_in_a_datagram(alert: Alert) -> None:
    """Severity, who, what, and how to find the rest."""
    with Listener(datagrams=True) as listener:
        assert send(f"syslog:udp://127.0.0.1:{listener.port}", alert) == []
    message = RFC5424.fullmatch(listener.got)

    assert message is not None
    assert json.loads(message[3])["fingerprint"] == alert.fingerprint
    assert len(listener.got) < 8192


def test_syslog_checks_the_certificate(alert: Alert, tmp_path: Path) -> None:
    """Of somebody else's authority nothing is sent to."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_greet, args=(server, context))
        thread.start()
        sinks, errors = opened(f"syslog:tls://127.0.0.1:{server.getsockname()[1]}?ca={tmp_path / 'ca.pem'}")
        sinks.stopping.set()
        with pytest.raises(delivery.StoppedError):
            sinks.send(alert)
        thread.join(10)
    assert errors == []


def _greet(server: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = server.accept()
    connection.settimeout(5)
    with connection, pytest.raises(ssl.SSLError), context.wrap_socket(connection, server_side=True) as secure:
        secure.recv(1)


def test_syslog_connects_again_when_the_other_side_hung_up(alert: Alert) -> None:
    """What is written into a dead connection would be lost."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sinks, errors = opened(f"syslog:tcp://127.0.0.1:{server.getsockname()[1]}")
        for _ in range(2):
            sinks.send(alert)
            connection, _ = server.accept()
            with connection:
                assert connection.recv(65536)
        sinks.close()
    assert errors == []


def test_cef_escapes_what_a_client_chose(alert: Alert) -> None:
    """One line; seven pipes end the header; no name and no equals sign of a client begins a field."""
    line = to_cef(alert)
    header, extension = re.split(r"(?<!\\)\|", line)[:7], re.split(r"(?<!\\)\|", line, maxsplit=7)[7]
    fields = dict(re.findall(r"(?:^| )(\w+)=((?:[^=\\]|\\.)*)(?= \w+=|$)", extension))

    assert line.isprintable()
    assert line.isascii()
    assert header[0] == "CEF:0"
    assert header[4] == alert.rules[0].id
    assert header[6] == "10"
    assert fields["externalId"] == alert.fingerprint
    assert fields["suser"] == fields["requestClientApplication"]
    assert r"a\=b|c\\d" in fields["suser"]
    assert r"\\r\\n\\x1b" in fields["suser"]
    assert "b" not in fields


def test_an_exception_that_no_sink_should_raise_costs_one_alert(
    alert: Alert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It becomes a dead letter, and the next one is sent."""
    sinks = open_all([f"file:{tmp_path / 'out'}"], dead_letters=tmp_path / "dead.jsonl", on_error=lambda _: None)
    (delivery,) = sinks.deliveries
    with monkeypatch.context() as patch:
        patch.setattr(delivery.sink, "send", lambda _: "é".encode("ascii"))
        assert not delivery.deliver(alert)
    assert delivery.deliver(alert)
    sinks.close()
    (letter,) = map(json.loads, (tmp_path / "dead.jsonl").read_text().splitlines())
    assert letter["reason"] == "failed: UnicodeEncodeError"
    assert (delivery.dead, delivery.sent) == (1, 1)


def test_syslog_takes_cef(alert: Alert) -> None:
    """In printable ASCII."""
    with Listener() as listener:
        assert send(f"syslog:tcp://127.0.0.1:{listener.port}?format=cef", alert) == []
    (message,) = (RFC5424.fullmatch(message) for message in frames(listener.got))

    assert message is not None
    assert message[3].startswith(b"CEF:0|k8stokendetect|")


def test_a_file_has_each_alert_on_a_line_and_survives_rotation(alert: Alert, tmp_path: Path) -> None:
    """After a rename a new file is begun; half a line of a machine that lost its power is removed."""
    path = tmp_path / "alerts.jsonl"
    sinks, errors = opened(f"file:{path}")
    sinks.send(alert)
    path.rename(tmp_path / "alerts.1")
    sinks.send(alert)
    sinks.close()
    assert [len(written(tmp_path / name)) for name in ("alerts.1", "alerts.jsonl")] == [1, 1]
    with path.open("ab") as file:
        file.write(b'{"half')
    again, _ = opened(f"file:{path}")
    assert again.deliveries[0].sink.has(alert)
    assert not again.deliveries[0].sink.has(attrs.evolve(alert, findings=(_other(alert.worst),)))
    again.send(alert)
    again.close()
    assert [one["fingerprint"] for one in written(path)] == [alert.fingerprint] * 2
    assert errors == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("form", "errors_of"), [("ecs", ecs_errors), ("ocsf", ocsf_errors)])
def test_a_sink_writes_ecs_and_ocsf(form: str, errors_of: Callable[[Any], list[str]], tmp_path: Path) -> None:
    """To a file, which still knows what it has, and to a webhook; valid, with the time of writing where ECS has it."""
    alert, path = some_alerts()[0], tmp_path / "alerts.jsonl"
    with FakeServer() as fake:
        assert send(f"file:{path}?format={form}", alert) == send(f"webhook:{fake.url}?format={form}", alert) == []
    again, _ = opened(f"file:{path}?format={form}")
    assert again.deliveries[0].sink.has(alert)
    again.close()
    for document in (*written(path), *fake.bodies()):
        assert errors_of(document) == []
        assert form == "ocsf" or datetime.now(UTC) - datetime.fromisoformat(document["event"]["ingested"]) < HOUR


def _other(finding: Finding) -> Finding:
    return attrs.evolve(finding, key="another")


def test_a_full_disk_leaves_no_half_line(alert: Alert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written whole is not there, and is tried again."""
    path = tmp_path / "alerts.jsonl"
    sinks, errors = opened(f"file:{path}")
    sinks.send(alert)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert not sinks.send(alert)
    assert len(written(path)) == 1
    assert "No space left on device" in str(errors[0])
    assert sinks.send(alert)
    sinks.close()
    assert len(written(path)) == 2


def test_kafka_gets_the_alert_under_its_fingerprint(alert: Alert) -> None:
    """Against librdkafka's own mock of a broker."""
    sinks, errors = opened("kafka:unused:1/alerts?test.mock.num.brokers=1")
    producer: Any = sinks.deliveries[0].sink
    assert sinks.send(alert)
    brokers = producer._producer.list_topics(timeout=10).brokers.values()  # noqa: SLF001 - where the mock listens
    servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe(["alerts"])
    message = next(filter(None, (consumer.poll(1) for _ in range(20))))
    consumer.close()
    sinks.close()

    assert message.key() == alert.fingerprint.encode()
    assert json.loads(message.value() or b"")["incident"] == "an-incident"
    assert errors == []


def test_kafka_that_does_not_answer_is_an_error(alert: Alert, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bounded time, without the addresses."""
    monkeypatch.setattr("k8stokendetect.sinks.kafka.TIMEOUT", 0.2)
    (error,) = send("kafka:127.0.0.1:9/alerts", alert)

    assert re.search("not (acknowledged|produced)", str(error))
    assert "127.0.0.1" not in str(error)


def test_only_what_is_severe_enough_is_sent(alert: Alert, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Excluded alerts are not sent anywhere."""
    low = Alert.of([attrs.evolve(alert.worst, severity=Severity.LOW)])
    excluded = Alert.of([attrs.evolve(alert.worst, excluded_by="kubelet")])
    config = tmp_path / "sinks.toml"
    config.write_text(
        f"[[sink]]\nkind = 'file'\ntarget = '{tmp_path / 'high'}'\nseverity = 'high'\nname = 'pager'\n"
        f"[[sink]]\nkind = 'stdout'\n"
    )
    sinks, errors = opened(str(config))
    for one in (low, excluded, alert):
        assert sinks.send(one)
    sinks.close()

    assert [one.name for one in sinks.deliveries] == ["pager", "stdout"]
    assert [one["severity"] for one in written(tmp_path / "high")] == ["critical"]
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert errors == []


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("slak:env:X", "did you mean 'slack'"),
        ("slack:T0-secret", "its target is a secret"),
        ("slack:env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
        ("teams:file:/nowhere/url", "cannot be read"),
        ("webhook:https://u:p-secret@h/", "no user name in the URL"),
        ("webhook:http://siem.example/", "http only to this machine"),
        ("webhook:ftp://siem.example/", "not an http or https URL"),
        ("webhook:https://h/?token=T0-secret", "`token` is a secret"),
        ("webhook:https://h/?tokn=env:X", "did you mean 'token'"),
        ("webhook:https://h/?ca=/nowhere", "`ca` cannot be read"),
        ("webhook:https://h/?severity=loud", "unknown severity"),
        ("webhook:https://h/?format=xml", "unknown format"),
        ("webhook:https://h/?token", "an option is NAME=VALUE"),
        ("syslog:host:514", "udp://HOST:PORT"),
        ("kafka:broker", "BROKER:PORT,…/TOPIC"),
        ("kafka:b:1/t?sasl.password=T0-secret", "`sasl.password` is a secret"),
        ("kafka:b:1/t?no.such.option=1", "refused by librdkafka"),
        ("file:", "its target is a path"),
        ("file:/nowhere/alerts", "cannot be written"),
        ("file:/dev/null", "not a regular file"),
        ("stdout:x", "takes no target"),
        ("none.toml", "cannot be read"),
        ("stdout?name=a b", "a name is letters"),
    ],
)
def test_a_wrong_sink_is_refused_without_its_secret(spec: str, problem: str) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match=re.escape(problem)) as refused:
        open_all([spec])

    assert "secret@" not in str(refused.value)
    assert "T0-secret" not in str(refused.value)


def test_a_url_in_a_variable_is_checked_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a line end in it taken for a part of a header."""
    for url in (
        "http://hooks.example/T0-secret",
        "https://hooks.example/T0\nsecret",
        "T0-secret",
        "https://[T0-secret",
    ):
        monkeypatch.setenv("URL", url)
        with pytest.raises(ConfigError) as refused:
            open_all(["slack:env:URL"])
        assert "T0" not in str(refused.value)


def test_a_proxy_is_used_where_the_environment_names_one(alert: Alert, monkeypatch: pytest.MonkeyPatch) -> None:
    """As other programs do; not for what `no_proxy` names."""
    with FakeServer() as proxy, FakeServer() as fake:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/hook/secret-part"))
        assert send(f"webhook:{fake.url}", alert) == []
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert send(f"webhook:{fake.url}", alert) == []
    assert [len(proxy.got), len(fake.got)] == [1, 1]
    assert posting.TIMEOUT > 0


def test_scan_sends_what_it_finds(tmp_path: Path) -> None:
    """Each alert once, with its incident, whatever is printed; what is not taken makes the exit status 2."""
    log = str(Path(__file__).parents[1] / "examples/attack.log")
    with FakeServer((404, {})) as fake:
        given = ["--sink", f"file:{tmp_path / 'out'}?severity=high", "--min-severity", "critical", "--quiet"]
        result = CliRunner().invoke(main, ["scan", log, *given])
        assert (result.exit_code, result.stderr) == (1, "")
        given = ["--sink", f"webhook:{fake.url}?severity=critical", "--dead-letters", str(tmp_path / "dead")]
        result = CliRunner().invoke(main, ["scan", log, *given])
        assert result.exit_code == 2
    sent, dead = written(tmp_path / "out"), written(tmp_path / "dead")

    assert {one["severity"] for one in sent} == {"high", "critical"}
    assert all(one["incident"] for one in sent)
    assert [one["alert"]["fingerprint"] for one in dead] == [
        one["fingerprint"] for one in sent if one["severity"] == "critical"
    ]
    assert "secret-part" not in result.stderr


def test_no_token_of_the_log_is_in_any_message(alert: Alert) -> None:
    """Alerts are made of redacted events; a message adds nothing to them."""
    makers: list[Callable[[Alert], str]] = [to_cef, lambda one: json.dumps(one.to_dict())]

    assert not [make for make in makers if re.search(r"eyJ[\w-]+\.eyJ", make(alert))]
