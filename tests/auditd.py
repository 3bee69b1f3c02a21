# SPDX-License-Identifier: Apache-2.0
"""Writes records as the Linux kernel and auditd do, written anew from kernel/auditsc.c: the tests' other side."""

from __future__ import annotations

from collections.abc import Sequence


def untrusted(text: bytes) -> str:
    """Write a text in quotes, or in hex where it holds a space, a quote or what is no printable ASCII."""
    if all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in text):
        return f'"{text.decode("ascii")}"'
    return text.hex().upper()


def execve(argv: Sequence[bytes], room: int = 7500) -> list[str]:
    """Return the bodies of the EXECVE records of a call; an argument longer than `room` stands in pieces, in hex."""
    bodies, body = [], f"argc={len(argv)}"
    for number, argument in enumerate(argv):
        if len(argument) <= room:
            parts = [f" a{number}={untrusted(argument)}"]
        else:
            pieces = [argument[at : at + room].hex().upper() for at in range(0, len(argument), room)]
            parts = [f" a{number}[{index}]={piece}" for index, piece in enumerate(pieces)]
            parts[0] = f" a{number}_len={2 * len(argument)}{parts[0]}"
        for part in parts:
            if len(body) > room:
                bodies.append(body)
                body = ""
            body += part
    return [*bodies, body]


def records(
    *argv: str | bytes,
    serial: int = 456,
    second: int = 1700000000,
    node: str = "",
    exe: str = "/usr/bin/x",
    room: int = 7500,
    enriched: bool = True,
    pid: int = 1001,
) -> list[str]:
    """Return the lines of one command, in the order in which auditd writes them, without line ends."""
    arguments = [text.encode() if isinstance(text, str) else text for text in argv]
    stamp = f"msg=audit({second}.123:{serial}):"
    head = f"node={node} " if node else ""
    names = '\x1dARCH=x86_64 SYSCALL=execve AUID="alice" UID="root" GID="root"' if enriched else ""
    title = b"\0".join(arguments)[:128]
    file = untrusted(exe.encode())
    syscall = (
        f"{head}type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 a0=55d a1=55e a2=55f a3=8 items=2 "
        f"ppid=1000 pid={pid} auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 "
        f'comm="x" exe={file} subj==unconfined (enforce) key="exec"{names}'
    )
    return [
        syscall,
        *(f"{head}type=EXECVE {stamp} {body.lstrip()}" for body in execve(arguments, room)),
        f'{head}type=CWD {stamp}  cwd="/root"',
        f"{head}type=PATH {stamp} item=0 name={file} inode=1 nametype=NORMAL cap_fp=0",
        f"{head}type=PROCTITLE {stamp} proctitle={untrusted(title)}",
    ]


def log(*lines: str) -> bytes:
    """Return a log of these lines."""
    return "".join(f"{line}\n" for line in lines).encode()
