# SPDX-License-Identifier: Apache-2.0
"""The receiver that a kube-apiserver's audit webhook posts to: `k8stokendetect serve`."""

from __future__ import annotations

from k8stokendetect.errors import ConfigError

try:
    import prometheus_client  # noqa: F401 - asked for here, so that the message says what to install
    import starlette  # noqa: F401 - the same
    import uvicorn  # noqa: F401 - the same
except ImportError as error:
    raise ConfigError(f"{error.name} is missing: pip install 'k8stokendetect[serve]'") from None

from k8stokendetect.serve.service import Service, Settings

__all__ = ["Service", "Settings"]
