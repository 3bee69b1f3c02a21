# SPDX-License-Identifier: Apache-2.0
"""Which calls in AWS and Google are bad in the hands of an attacker, and why."""

from __future__ import annotations

from typing import Final

SOURCES: Final = (
    "https://github.com/invictus-ir/aws-cheatsheet",
    "https://stratus-red-team.cloud/attack-techniques/list/",
)
"""CloudTrail's events by tactic, and the calls that each technique makes."""

_READS_SECRETS: Final = "reads secrets"
_GIVES_RIGHTS: Final = "gives rights away"
_MAKES_IDENTITY: Final = "makes an identity that stays"
_SHARES_DATA: Final = "takes or shares data"
_HIDES: Final = "switches off what records and detects"
_RUNS_CODE: Final = "runs code elsewhere"

_AWS: Final = {
    "secretsmanager": {_READS_SECRETS: "GetSecretValue BatchGetSecretValue"},
    "ssm": {
        _READS_SECRETS: "GetParameter GetParameters GetParametersByPath",
        _RUNS_CODE: "SendCommand StartSession",
    },
    "iam": {
        _MAKES_IDENTITY: "CreateUser CreateAccessKey CreateLoginProfile UpdateLoginProfile CreateRole UpdateAccessKey "
        "CreateVirtualMFADevice DeactivateMFADevice CreateOpenIDConnectProvider CreateSAMLProvider",
        _GIVES_RIGHTS: "AttachUserPolicy AttachRolePolicy AttachGroupPolicy PutUserPolicy PutRolePolicy PutGroupPolicy "
        "CreatePolicyVersion SetDefaultPolicyVersion UpdateAssumeRolePolicy AddUserToGroup AddRoleToInstanceProfile "
        "DeleteRolePermissionsBoundary DeleteUserPermissionsBoundary",
    },
    "rolesanywhere": {_MAKES_IDENTITY: "CreateTrustAnchor CreateProfile"},
    "sts": {_MAKES_IDENTITY: "GetFederationToken"},
    "ec2": {
        _READS_SECRETS: "GetPasswordData",
        _SHARES_DATA: "CreateSnapshot CreateSnapshots ModifySnapshotAttribute CopySnapshot ModifyImageAttribute "
        "CreateImage",
        _HIDES: "DeleteFlowLogs",
        _RUNS_CODE: "RunInstances ModifyInstanceAttribute",
    },
    "ec2-instance-connect": {_RUNS_CODE: "SendSSHPublicKey SendSerialConsoleSSHPublicKey"},
    "rds": {
        _SHARES_DATA: "CreateDBSnapshot CreateDBClusterSnapshot ModifyDBSnapshotAttribute "
        "ModifyDBClusterSnapshotAttribute"
    },
    "s3": {_SHARES_DATA: "PutBucketPolicy PutBucketAcl DeleteAccountPublicAccessBlock PutBucketVersioning"},
    "cloudtrail": {_HIDES: "StopLogging DeleteTrail UpdateTrail PutEventSelectors DeleteEventDataStore"},
    "guardduty": {
        _HIDES: "DeleteDetector UpdateDetector DeleteMembers DisassociateMembers StopMonitoringMembers CreateFilter"
    },
    "config": {_HIDES: "StopConfigurationRecorder DeleteConfigurationRecorder DeleteDeliveryChannel DeleteConfigRule"},
    "logs": {_HIDES: "DeleteLogGroup DeleteLogStream PutRetentionPolicy"},
    "securityhub": {_HIDES: "DisableSecurityHub"},
    "organizations": {_HIDES: "LeaveOrganization"},
    "lambda": {_RUNS_CODE: "CreateFunction20150331 UpdateFunctionCode20150331v2 AddPermission20150331v2"},
}

_GOOGLE: Final = (
    ("AccessSecretVersion", _READS_SECRETS),
    ("CreateServiceAccountKey", _MAKES_IDENTITY),
    ("CreateServiceAccount", _MAKES_IDENTITY),
    ("CreateWorkloadIdentityPoolProvider", _MAKES_IDENTITY),
    ("SetIamPolicy", _GIVES_RIGHTS),
    ("setIamPermissions", _GIVES_RIGHTS),
    ("DeleteSink", _HIDES),
    ("UpdateSink", _HIDES),
)
"""The end of a method's name."""

_BY_CALL: Final = {
    (service, action.lower()): why
    for service, acts in _AWS.items()
    for why, actions in acts.items()
    for action in actions.split()
}

_ASKS: Final = frozenset({"getcalleridentity", "getsessiontoken"})


def why_bad(cloud: str, service: str, action: str, /) -> str:
    """Say why a call is bad, as the end of a sentence: `reads secrets`; empty for any other call."""
    if cloud == "aws":
        return _BY_CALL.get((service.lower().removesuffix(".amazonaws.com"), action.strip().lower()), "")
    method = action.rpartition(".")[2].lower()
    return next((why for name, why in _GOOGLE if cloud == "google" and method == name.lower()), "")


def only_asks(action: str, /) -> bool:
    """Tell whether a call only asks who the caller is."""
    return action.strip().lower() in _ASKS
