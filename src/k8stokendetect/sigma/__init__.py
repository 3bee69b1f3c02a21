# SPDX-License-Identifier: Apache-2.0
"""The rules as Sigma YAML, written from the detectors' and the exclusions' own data.

Three forms: short, the default; full, which checks all that Sigma can express; strict, which also leaves out each
filter that lacks a proof of its exclusion. Where a rule differs from its detector is a comment in the YAML. Field names
are those of the audit event, as in SigmaHQ's rules for `product: kubernetes`.
Specification: github.com/SigmaHQ/sigma-specification, rules 2.1.0, correlations 2.1.0.
"""

from __future__ import annotations

from k8stokendetect.sigma.conventions import file_name
from k8stokendetect.sigma.pipelines import PRODUCTS, Product, extraction, name_in, pipeline
from k8stokendetect.sigma.products import TARGETS, Target, Written, write_for
from k8stokendetect.sigma.write import FORM_NAMES, NAMESPACE, RULES, FormName, export, rule_for, rule_id

__all__ = [
    "FORM_NAMES",
    "NAMESPACE",
    "PRODUCTS",
    "RULES",
    "TARGETS",
    "FormName",
    "Product",
    "Target",
    "Written",
    "export",
    "extraction",
    "file_name",
    "name_in",
    "pipeline",
    "rule_for",
    "rule_id",
    "write_for",
]
