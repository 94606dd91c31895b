"""Stand-ins for what works without a daemon: they record what they were asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from covey.operations.secret import Secret
from covey.surfaces.cli.node_control import InitReport, JoinReport, UnlockChoice


@dataclass
class FakeControl:
    """A home with or without a node."""

    initialized: bool = False
    by_password: bool = False
    running: bool = False
    serve_status: int = 0
    calls: list[tuple[object, ...]] = field(default_factory=list)

    def is_initialized(self) -> bool:
        return self.initialized

    def unlocks_by_password(self) -> bool:
        return self.by_password

    def is_running(self) -> bool:
        return self.running

    def init(self, name: str | None, unlock: UnlockChoice) -> InitReport:
        self.calls.append(("init", name, unlock))
        return InitReport(name or "here", "n" * 32, "f" * 32, Secret("recovery-key-text"))

    def join(self, token: Secret, name: str | None, unlock: UnlockChoice) -> JoinReport:
        self.calls.append(("join", token.reveal(), name, unlock))
        return JoinReport(name or "here", "n" * 32, "f" * 32, "admin", "freya")

    def recover(
        self, address: str, recovery_key: Secret, name: str | None, unlock: UnlockChoice
    ) -> JoinReport:
        self.calls.append(("recover", address, recovery_key.reveal(), name, unlock))
        return JoinReport(
            name or "here", "n" * 32, "f" * 32, "admin", "freya", Secret("the-next-key")
        )

    def serve(self, listen: str | None, password: Secret | None, *, as_json: bool) -> int:
        self.calls.append(("serve", listen, password.reveal() if password else None))
        return self.serve_status


@dataclass(frozen=True)
class FakeReport:
    """What the service manager says."""

    path: str = "/etc/systemd/system/covey.service"
    active: bool = True
    next_steps: tuple[str, ...] = ("loginctl enable-linger",)


@dataclass
class FakeServices:
    """A service manager that changes nothing."""

    present: str | None = None
    calls: list[tuple[object, ...]] = field(default_factory=list)

    def install(self, *, system: bool, user: str | None, confined: bool, start: bool) -> FakeReport:
        self.calls.append(("install", system, user, confined, start))
        return FakeReport()

    def uninstall(self, *, system: bool) -> FakeReport:
        self.calls.append(("uninstall", system))
        return FakeReport(active=False, next_steps=())

    def installed(self) -> str | None:
        return self.present

    def preview(self, *, system: bool, user: str | None, confined: bool) -> str:
        return f"[Unit] {system} {user} {confined}\n"
