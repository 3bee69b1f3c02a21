# SPDX-License-Identifier: Apache-2.0
"""Bytes to records: sources, decompression, splitting into JSON records, following a growing file."""
