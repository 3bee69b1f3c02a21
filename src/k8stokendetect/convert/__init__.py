# SPDX-License-Identifier: Apache-2.0
"""Values in another notation: JSON to typed events and back, times, and text without live tokens."""
