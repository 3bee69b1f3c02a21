# SPDX-License-Identifier: Apache-2.0
"""Pure functions from a Finding to what people and programs read: one format a file, imported when it is first used."""

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k8stokendetect.outputs import (
        ecs as ecs,
    )
    from k8stokendetect.outputs import (
        frames as frames,
    )
    from k8stokendetect.outputs import (
        html as html,
    )
    from k8stokendetect.outputs import (
        native as native,
    )
    from k8stokendetect.outputs import (
        ocsf as ocsf,
    )
    from k8stokendetect.outputs import (
        report as report,
    )
    from k8stokendetect.outputs import (
        text as text,
    )
    from k8stokendetect.outputs import (
        tree as tree,
    )
else:  # hidden from type checkers: they would take every unknown name for known

    def __getattr__(name: str) -> object:
        module = f"{__name__}.{name}"
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
