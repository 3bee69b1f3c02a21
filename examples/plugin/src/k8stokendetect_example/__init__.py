# SPDX-License-Identifier: Apache-2.0
"""An example of a plug-in for k8stokendetect."""
