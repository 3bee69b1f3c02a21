# SPDX-License-Identifier: Apache-2.0
"""The detectors that ship: `BUILTIN` is the table of contents, one behaviour a file."""

from __future__ import annotations

from typing import Final

from k8stokendetect.detectors.audit_annotation_forged import AuditAnnotationForged
from k8stokendetect.detectors.base import Detector, Traits
from k8stokendetect.detectors.cloud import CloudDetector
from k8stokendetect.detectors.cloud_act_after_exchange import CloudActAfterExchange
from k8stokendetect.detectors.forged_token import ForgedToken
from k8stokendetect.detectors.keyed import KeyedDetector, View
from k8stokendetect.detectors.legacy_token_secret import LegacyTokenSecret
from k8stokendetect.detectors.minted_token_exchanged import MintedTokenExchanged
from k8stokendetect.detectors.minted_token_used import MintedTokenUsed
from k8stokendetect.detectors.overlong_audit_id import OverlongAuditID
from k8stokendetect.detectors.pod_token_moved import PodTokenMoved
from k8stokendetect.detectors.read_token_used import ReadTokenUsed
from k8stokendetect.detectors.second_control_plane_credential import SecondControlPlaneCredential
from k8stokendetect.detectors.system_identity_issued import SystemIdentityIssued
from k8stokendetect.detectors.token_in_audit_log import TokenInAuditLog
from k8stokendetect.detectors.token_read_by_exec import TokenReadByExec
from k8stokendetect.detectors.token_request import TokenRequest
from k8stokendetect.detectors.token_request_cloud_audience import TokenRequestCloudAudience
from k8stokendetect.detectors.token_request_denied import TokenRequestDenied
from k8stokendetect.detectors.token_request_impersonated import TokenRequestImpersonated
from k8stokendetect.detectors.token_request_long_lived import TokenRequestLongLived
from k8stokendetect.detectors.token_request_lookalike import TokenRequestLookalike
from k8stokendetect.detectors.token_request_privileged_target import TokenRequestPrivilegedTarget
from k8stokendetect.detectors.token_request_unbound import TokenRequestUnbound
from k8stokendetect.detectors.token_request_uri import TokenRequestURI
from k8stokendetect.detectors.token_right_granted import TokenRightGranted
from k8stokendetect.detectors.unknown_token_used import UnknownTokenUsed
from k8stokendetect.detectors.unreadable_token_request import UnreadableTokenRequest
from k8stokendetect.detectors.unusual_origin import UnusualOrigin
from k8stokendetect.detectors.web_identity_unusual_origin import WebIdentityUnusualOrigin
from k8stokendetect.detectors.web_identity_without_mint import WebIdentityWithoutMint

BUILTIN: Final[tuple[type[Detector], ...]] = (
    TokenRequest,
    TokenRequestURI,
    TokenRequestImpersonated,
    TokenRequestLookalike,
    TokenRequestPrivilegedTarget,
    TokenRequestCloudAudience,
    TokenRequestLongLived,
    TokenRequestUnbound,
    TokenRequestDenied,
    SecondControlPlaneCredential,
    UnusualOrigin,
    MintedTokenUsed,
    UnknownTokenUsed,
    TokenInAuditLog,
    LegacyTokenSecret,
    TokenReadByExec,
    SystemIdentityIssued,
    TokenRightGranted,
    UnreadableTokenRequest,
    OverlongAuditID,
    AuditAnnotationForged,
    WebIdentityUnusualOrigin,
    WebIdentityWithoutMint,
    MintedTokenExchanged,
    CloudActAfterExchange,
)
"""What `detect` runs unless told otherwise; each class can be made without arguments."""

OPTIONAL: Final[tuple[type[Detector], ...]] = (ForgedToken, PodTokenMoved, ReadTokenUsed)
"""What has to look at every request of every service account: for those who ask for it, by class or by rule id."""

__all__ = [
    "BUILTIN",
    "OPTIONAL",
    "AuditAnnotationForged",
    "CloudActAfterExchange",
    "CloudDetector",
    "Detector",
    "ForgedToken",
    "KeyedDetector",
    "LegacyTokenSecret",
    "MintedTokenExchanged",
    "MintedTokenUsed",
    "OverlongAuditID",
    "PodTokenMoved",
    "ReadTokenUsed",
    "SecondControlPlaneCredential",
    "SystemIdentityIssued",
    "TokenInAuditLog",
    "TokenReadByExec",
    "TokenRequest",
    "TokenRequestCloudAudience",
    "TokenRequestDenied",
    "TokenRequestImpersonated",
    "TokenRequestLongLived",
    "TokenRequestLookalike",
    "TokenRequestPrivilegedTarget",
    "TokenRequestURI",
    "TokenRequestUnbound",
    "TokenRightGranted",
    "Traits",
    "UnknownTokenUsed",
    "UnreadableTokenRequest",
    "UnusualOrigin",
    "View",
    "WebIdentityUnusualOrigin",
    "WebIdentityWithoutMint",
]
