"""The port that the app listens on, or one line that says why there is none.

Goes in: what a person asked for. Comes out: a socket that listens. Nothing here imports the web framework,
whose import fails where GRADIO_SERVER_PORT is no number.
"""

import errno
import os
import socket

from serving.files.errors import UserError

FIRST_PORT = 7860
# Ports that are tried where none is asked for.
PORTS = 100
LAST_PORT = 65535


class ServeError(UserError):
    """An app that cannot be served where it was asked for."""


def listen(host: str, port: int | None) -> socket.socket:
    """Take a port.

    Args:
        host: name or address of this machine.
        port: None: the first free one from GRADIO_SERVER_PORT, or 7860.

    Raises:
        ServeError: the port is taken or none, or this machine has no such host.
    """
    if port is not None:
        ports = range(port, port + 1)
    else:
        first = find_first_port()
        ports = range(first, min(first + PORTS, LAST_PORT + 1))
    if not 1 <= ports[0] <= LAST_PORT:
        raise ServeError(f"Expected a port from 1 to {LAST_PORT}, got {ports[0]}.")
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ServeError(f"{host} is no known host. Name one of this machine, such as 127.0.0.1.") from error
    for number in ports:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address[0], number, *address[2:]))
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise ServeError(_describe(error, host, number)) from error
    taken = f"Port {ports[0]} is" if len(ports) == 1 else f"Ports {ports[0]} to {ports[-1]} are"
    raise ServeError(f"{taken} taken on {host}. Choose another with --port, or stop what listens there.")


def find_first_port() -> int:
    """Read GRADIO_SERVER_PORT, or give 7860.

    Raises:
        ServeError: it is no number.
    """
    stated = os.environ.get("GRADIO_SERVER_PORT") or str(FIRST_PORT)
    if not stated.isdecimal():
        raise ServeError(f"GRADIO_SERVER_PORT should be a port from 1 to {LAST_PORT}, got {stated!r}.")
    return int(stated)


def _describe(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine. Name one that is, such as 127.0.0.1 or 0.0.0.0."
    if error.errno == errno.EACCES:
        return f"Port {port} may not be used by this user. Choose one from 1024 on."
    return f"{host}:{port} cannot be used: {error.strerror}. Choose another host or port."
