# SPDX-License-Identifier: Apache-2.0
"""Bytes to records: sources, stores, decompression, archives, encodings, splitting into JSON records."""
