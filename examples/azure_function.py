# SPDX-License-Identifier: Apache-2.0
"""Azure Function on the Event Hub that an AKS diagnostic setting streams `kube-audit` to.

Save it as `function_app.py` of a Python function app (programming model v2) with `k8stokendetect` and
`azure-functions` in requirements.txt. Set EVENT_HUB (its name) and EVENT_HUB_CONNECTION (or the
EVENT_HUB_CONNECTION__ settings of a managed identity). Findings are logged as warnings of the logger `k8stokendetect`,
which Application Insights keeps as traces.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock

import azure.functions as func

from k8stokendetect import Finding, detect
from k8stokendetect.detectors import BUILTIN
from k8stokendetect.outputs.native import to_line

logger = logging.getLogger("k8stokendetect")


class Examiner:
    """Examines batches one after another with the same detectors; the worker's threads may call it concurrently.

    A `deliver` that raises fails the invocation. Undelivered findings are kept and go out first the next time: a
    detector with memory reports a thing once, and would not repeat it when the batch is retried.
    """

    def __init__(self, deliver: Callable[[Finding], object], report: Callable[[object], object]) -> None:
        self.deliver, self.report = deliver, report
        self._detectors = [cls() for cls in BUILTIN]
        self._undelivered: deque[Finding] = deque()
        self._lock = Lock()

    def __call__(self, bodies: Iterable[bytes]) -> None:
        """Deliver what is left over, then the findings of these messages."""
        with self._lock:
            self._flush()
            found = detect(list(bodies), detectors=self._detectors, platform="aks", on_error=self.report)
            self._undelivered.extend(found)
            self._flush()

    def _flush(self) -> None:
        while self._undelivered:
            self.deliver(self._undelivered[0])
            self._undelivered.popleft()


examine = Examiner(lambda finding: logger.warning("%s", to_line(finding)), lambda error: logger.error("%s", error))
app = func.FunctionApp()


@app.function_name("find_minted_tokens")
@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%EVENT_HUB%",
    connection="EVENT_HUB_CONNECTION",
    cardinality=func.Cardinality.MANY,
)
@app.retry(
    strategy="exponential_backoff", max_retry_count="-1", minimum_interval="00:00:05", maximum_interval="00:05:00"
)
def find_minted_tokens(events: list[func.EventHubEvent]) -> None:
    """Examine a batch; without the retry policy the checkpoint would advance even if this raises."""
    examine(event.get_body() for event in events)
