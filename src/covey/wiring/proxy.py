"""The proxy of a node: its routes joined to Caddy."""

from __future__ import annotations

import os
from pathlib import Path

from covey.apps.routing.service import RoutesService
from covey.apps.routing.tls import TlsAbilities
from covey.engines.acme.account import AcmeAccount
from covey.engines.acme.certificates import DnsCertificates
from covey.engines.caddy.config import CaddyOptions
from covey.engines.caddy.engine import CaddyProxy
from covey.engines.caddy.passwords import CaddyPasswords
from covey.engines.caddy.process import CaddyPaths
from covey.paths import Paths
from covey.settings import Settings
from covey.store.ports import LocalState


def make_routes(paths: Paths, settings: Settings, local: LocalState) -> RoutesService:
    """Make the routes of a node; nothing runs before `start`, and no Caddy without a route."""
    run_dir = Path(os.path.realpath(paths.run_dir)) / "caddy"
    data, logs = Path(paths.data_dir) / "caddy", Path(paths.state_dir) / "proxy"
    proxy = settings.proxy
    options = CaddyOptions(
        admin_socket=run_dir / "admin.sock",
        upstreams=run_dir / "upstreams",
        storage=data / "storage",
        log_dir=logs,
        http=proxy.http,
        https=proxy.https,
        http3=proxy.http3,
        trusted_proxies=proxy.trusted_proxies,
        acme_directory=proxy.acme_directory,
        acme_email=proxy.acme_email,
        acme_roots=proxy.acme_roots,
        access_log_bytes=proxy.access_log_bytes,
        renewal_check_s=proxy.renewal_check,
    )
    issued = None
    if proxy.dns_hook:
        account = AcmeAccount(
            proxy.acme_directory,
            proxy.acme_email,
            proxy.acme_roots,
            data / "dns" / "account.key",
            proxy.dns_hook,
        )
        issued = DnsCertificates(account, data / "dns")
    return RoutesService(
        local,
        CaddyProxy(options, CaddyPaths(run_dir, data, logs)),
        CaddyPasswords(),
        TlsAbilities(
            serves_http=bool(proxy.http), serves_https=bool(proxy.https), dns=bool(proxy.dns_hook)
        ),
        issued,
        [Path(at) for at in (paths.config_dir, paths.data_dir, paths.state_dir, paths.run_dir)],
    )
