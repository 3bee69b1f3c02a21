# SPDX-License-Identifier: Apache-2.0
"""Hypothesis without deadlines: machines are shared, and no test measures time."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
