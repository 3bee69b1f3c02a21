# SPDX-License-Identifier: Apache-2.0
"""The host's side: token requests among the commands in a Linux host's audit log (auditd)."""

from k8stokendetect.commands.detection import BUILTIN_COMMANDS, detect_commands
from k8stokendetect.commands.exec_detector import ExecDetector
from k8stokendetect.commands.exec_events import ExecEvent, read_auditd
from k8stokendetect.commands.token_request_command import TokenRequestCommand

__all__ = ["BUILTIN_COMMANDS", "ExecDetector", "ExecEvent", "TokenRequestCommand", "detect_commands", "read_auditd"]
