# SPDX-License-Identifier: Apache-2.0
"""Runs one command and writes its wall time, processor time and peak memory: `_child.py ANSWER OUTPUT COMMAND…`.

A process of its own, and a small one, because Linux counts the memory of the process that starts a command towards the
peak of the command (fs/exec.c: setmax_mm_hiwater_rss). What it holds itself, some 9 MB, is the least it can measure.
"""

import os
import sys
import time

answer, output, *command = sys.argv[1:]
with open(output, "wb") as out:  # noqa: PTH123 - pathlib costs memory
    start = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1)])
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
with open(answer, "w", encoding="ascii") as file:  # noqa: PTH123
    code = os.waitstatus_to_exitcode(status)
    file.write(f"{code} {wall} {usage.ru_utime} {usage.ru_stime} {usage.ru_maxrss * 1024}")
