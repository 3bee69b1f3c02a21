# SPDX-License-Identifier: Apache-2.0
"""The commands beside `scan | rules | exclusions`: one file each."""
