"""Telling systemd how things are: sd_notify(3) over its datagram socket."""

import contextlib
import os
import socket


def notify(message: str) -> None:
    """Send one or more ``KEY=value`` lines; without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.setblocking(False)
        line.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
