"""A TLS server at ADDRESS PORT with the certificate and key in a PEM file. For each caller it
prints `refused` if the handshake failed, or else what the caller said."""

from __future__ import annotations

import socket
import ssl
import sys


def main(address: str, port: str, pem: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(pem)
    listener = socket.create_server((address, int(port)))
    print("listening", flush=True)
    while True:
        accepted, _ = listener.accept()
        accepted.settimeout(5)
        try:
            with context.wrap_socket(accepted, server_side=True) as inside:
                # With TLS 1.3 the server is through before the client has judged it.
                print(repr(inside.recv(4096)) + repr(inside.getpeercert()), flush=True)
        except OSError:
            print("refused", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
