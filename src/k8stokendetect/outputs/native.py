# SPDX-License-Identifier: Apache-2.0
"""Our own JSON: one finding a line, ASCII only, so that no terminal and no line splitter can be fooled."""

from __future__ import annotations

import json

from k8stokendetect._structure import finding_to_mapping
from k8stokendetect.findings import Finding


def to_line(finding: Finding, /) -> str:
    r"""Return a finding as one line of JSON, without the line end.

    Everything but printable ASCII is escaped: U+2028 in a user agent would break the line elsewhere, and U+009B would
    steer a terminal.
    """
    return json.dumps(finding_to_mapping(finding), separators=(",", ":")).replace("\x7f", "\\u007f")
