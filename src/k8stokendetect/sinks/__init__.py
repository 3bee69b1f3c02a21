# SPDX-License-Identifier: Apache-2.0
"""Sends alerts where people and machines read them: files, webhooks, chats, pagers, syslog, Kafka."""

from k8stokendetect.sinks.base import Sink, SinkError
from k8stokendetect.sinks.delivery import Delivery
from k8stokendetect.sinks.opening import Sinks, open_all

__all__ = ["Delivery", "Sink", "SinkError", "Sinks", "open_all"]
