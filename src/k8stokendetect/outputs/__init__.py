# SPDX-License-Identifier: Apache-2.0
"""Pure functions from a Finding to what people and programs read: one format a file."""
