"""A stranger on the LAN: announces a Covey node (NAME ADDRESS PORT KEY=VALUE…) until its input
ends, or prints what is announced under a name that begins so (--listen NAME)."""

from __future__ import annotations

import sys
import time

from zeroconf import ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

TYPE = "_covey._tcp.local."


class Ear(ServiceListener):
    def __init__(self, name: str) -> None:
        self.name = name
        self.record: dict[str, str] = {}

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        info = zc.get_service_info(type_, name) if name.startswith(self.name) else None
        if info is not None:
            self.record = {key: value or "" for key, value in info.decoded_properties.items()}

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        self.add_service(zc, type_, name)

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        pass


def listen(name: str) -> None:
    ear = Ear(name)
    zeroconf = Zeroconf()
    ServiceBrowser(zeroconf, TYPE, ear)
    until = time.monotonic() + 20
    while not ear.record and time.monotonic() < until:
        time.sleep(0.02)
    zeroconf.close()
    for key, value in ear.record.items():
        print(f"{key}={value}")


def announce(name: str, address: str, port: str, *words: str) -> None:
    info = ServiceInfo(
        TYPE,
        f"{name}.{TYPE}",
        port=int(port),
        properties=dict(word.split("=", 1) for word in words),
        server=f"{name}.local.",
        parsed_addresses=[address],
    )
    zeroconf = Zeroconf()
    zeroconf.register_service(info)
    print("announced", flush=True)
    sys.stdin.read()
    zeroconf.close()


if __name__ == "__main__":
    if sys.argv[1] == "--listen":
        listen(sys.argv[2])
    else:
        announce(*sys.argv[1:])
