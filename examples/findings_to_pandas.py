# SPDX-License-Identifier: Apache-2.0
"""Turn findings into a pandas frame, and count who minted tokens for whom.

Install `k8stokendetect[pandas]`; run `python findings_to_pandas.py examples/attack.log`. In a notebook, import
`to_frame` from the library; it also takes alerts and incidents.
"""

import sys

import pandas as pd

from k8stokendetect import K8sTokenDetectError, detect
from k8stokendetect.outputs.frames import to_frame


def by_actor_and_target(frame: pd.DataFrame) -> pd.DataFrame:
    """Count findings: one row per actor, one column per target."""
    return pd.crosstab(frame["actor"], frame["target"])


if __name__ == "__main__":
    errors: list[K8sTokenDetectError] = []
    mints = to_frame(detect(sys.argv[1], detectors=["token-request"], on_error=errors.append))
    print(by_actor_and_target(mints).T.to_string())
    print(mints.groupby("severity", observed=True).size().to_string())
    for error in errors:
        print("could not be read:", error, file=sys.stderr)
