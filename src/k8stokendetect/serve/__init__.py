# SPDX-License-Identifier: Apache-2.0
"""The receiver that a kube-apiserver's audit webhook posts to: `k8stokendetect serve`."""

from k8stokendetect.serve.service import Service, Settings

__all__ = ["Service", "Settings"]
