# SPDX-License-Identifier: Apache-2.0
"""Sinks that post: a webhook, Slack, Teams, PagerDuty.

What a client chose never stands where Slack or Teams look for markup, mentions or links:

- Slack: `text` is markup, `<!channel>` and `<https://…|words>` in it (https://docs.slack.dev/messaging/formatting-message-text/),
  and holds our words only. All else stands in the preformatted part of a rich text block, whose text elements are not
  parsed (https://docs.slack.dev/reference/block-kit/blocks/rich-text-block/).
- Teams: TextBlock and FactSet take Markdown, a RichTextBlock does not
  (https://learn.microsoft.com/en-us/adaptive-cards/authoring-cards/text-features). A message as a workflow takes it:
  https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook.
- PagerDuty: plain text (https://developer.pagerduty.com/docs/send-alert-event).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from k8stokendetect.findings import Severity
from k8stokendetect.incidents import Alert
from k8stokendetect.sinks.posting import Poster
from k8stokendetect.sinks.wording import Message, body_of, message_of, plain

PAGERDUTY: Final = "https://events.pagerduty.com/v2/enqueue"
_LONGEST_SUMMARY: Final = 1024
"""Of PagerDuty's `payload.summary`, in characters."""

_PAGERDUTY_SEVERITIES: Final = {
    Severity.INFORMATIONAL: "info",
    Severity.LOW: "info",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "critical",
}

Body = Callable[[Alert], bytes]


class HttpSink:
    """Posts each alert.

    Arguments:
        name: for people.
        poster: where to.
        body: words an alert.
        keyed: send the fingerprint along as `Idempotency-Key`, so that a receiver can drop what it has.

    """

    def __init__(self, name: str, poster: Poster, body: Body, *, keyed: bool = False) -> None:
        self.name = name
        self._poster = poster
        self._body = body
        self._keyed = keyed

    def send(self, alert: Alert, /) -> None:
        """Post an alert."""
        self._poster.post(self._body(alert), {"Idempotency-Key": alert.fingerprint} if self._keyed else None)

    def has(self, _: Alert, /) -> bool:
        """Only the other side knows."""
        return False

    def close(self) -> None:
        """Close the connection."""
        self._poster.close()


def slack_body(alert: Alert, /) -> bytes:
    """Word an alert for Slack's incoming webhooks."""
    message = message_of(alert)
    title = _slack_escaped(message.title)
    parts: list[dict[str, Any]] = [
        {
            "type": "rich_text_section",
            "elements": [{"type": "text", "text": message.title, "style": {"bold": True}}],
        },
        {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": message.text}]},
    ]
    return body_of(
        {
            "text": title,
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
            "blocks": [{"type": "rich_text", "elements": parts}],
        }
    )


def _slack_escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def teams_body(alert: Alert, /) -> bytes:
    """Word an alert for a Teams workflow that posts what a webhook receives: an adaptive card."""
    message = message_of(alert)
    card = {
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            _run(message.title, weight="Bolder", size="Large"),
            _run(message.summary),
            *_facts(message),
        ],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return body_of({"type": "message", "attachments": [attachment]})


def _facts(message: Message) -> list[dict[str, Any]]:
    return [_run(f"{name}: {value}", fontType="Monospace", size="Small") for name, value in message.facts]


def _run(text: str, **style: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def pagerduty_body(routing_key: str, /) -> Body:
    """Return what words an alert for PagerDuty: one page for each incident and severity, not one a request.

    A repetition has the same `dedup_key` and changes nothing; that an incident gets worse is a page of its own.
    """

    def body(alert: Alert, /) -> bytes:
        message = message_of(alert)
        payload = {
            "summary": plain(f"{message.title}: {message.summary}", _LONGEST_SUMMARY - 30),
            "source": alert.event.cluster or "kubernetes",
            "severity": _PAGERDUTY_SEVERITIES[alert.severity],
            "component": "k8stokendetect",
            "class": alert.rules[0].id,
            "custom_details": dict(message.facts),
        }
        if alert.event.time is not None:
            payload["timestamp"] = alert.event.time.isoformat()
        return body_of(
            {
                "routing_key": routing_key,
                "event_action": "trigger",
                "dedup_key": f"{alert.incident or alert.fingerprint}-{alert.severity}"[:255],
                "payload": payload,
            }
        )

    return body
