"""schemathesis, all of whose connections go to the Unix socket `$SOCKET`, whatever host they are for.
Its arguments are those of `st`. Started by the tests of `tests/it/openapi.rs`.
"""

import os
import socket
import sys

import urllib3.util.connection
from schemathesis.cli import schemathesis


def connect(address, timeout=None, source_address=None, socket_options=None):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if isinstance(timeout, (int, float)):
        connection.settimeout(timeout)
    connection.connect(os.environ["SOCKET"])
    return connection


urllib3.util.connection.create_connection = connect

sys.exit(schemathesis())
