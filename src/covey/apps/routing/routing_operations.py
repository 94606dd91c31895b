"""The operations on routes: for what runs beside Covey's apps, and on certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from covey.apps.routing.certificates import expiry
from covey.apps.routing.model import Balance as BalanceMode
from covey.apps.routing.model import BasicAuth, Host, RouteRules, TlsMode
from covey.apps.routing.named import Wanted, make_route, merge, owner_of
from covey.apps.routing.ports import CertificateSource
from covey.apps.routing.route_arguments import (
    AuthorityView,
    CertificateView,
    HeaderLine,
    Network,
    ProxyStopped,
    RouteName,
    RouteView,
    Upstream,
)
from covey.apps.routing.route_views import view_routes
from covey.apps.routing.service import RoutesService
from covey.apps.routing.table import hosts_of
from covey.errors import ConflictError, InvalidRequestError, NotFoundError
from covey.operations.access import Role
from covey.operations.context import Context
from covey.operations.registry import Effect, operation
from covey.operations.secret import Secret


@operation(
    "routes.list",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/routes",
    examples=("routes list",),
)
async def list_routes(ctx: Context) -> list[RouteView]:
    """List what this machine's proxy serves, apps included."""
    return view_routes(ctx.service(RoutesService))


@operation(
    "routes.add",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="POST /api/v1/routes",
    examples=(
        "routes add wiki wiki.example.org --to 127.0.0.1:8080",
        "routes add wiki wiki.example.org --path /api --strip --to 127.0.0.1:9000",
        "routes add shop shop.example.org --to 10.0.0.5:80=95 --to 10.0.0.6:80=5",
        "routes add docs docs.example.org --directory /srv/docs --not-found 404.html",
        "routes add old old.example.org --redirect https://new.example.org",
    ),
)
async def add_route(
    ctx: Context,
    name: RouteName,
    hosts: Annotated[list[Host], Meta(min_length=1, max_length=100, description="Its hosts.")],
    *,
    to: Annotated[
        list[Upstream],
        Meta(max_length=100, description="HOST:PORT of a server, or HOST:PORT=WEIGHT."),
    ]
    | None = None,
    directory: Annotated[
        str | None, Meta(description="Serve the files of this directory of the machine.")
    ] = None,
    fallback: Annotated[
        str | None, Meta(description="The file that is served where there is none, with 200.")
    ] = None,
    not_found: Annotated[
        str | None, Meta(description="The file that is served where there is none, with 404.")
    ] = None,
    redirect: Annotated[str | None, Meta(description="Send requests to this URL.")] = None,
    temporary: Annotated[bool, Meta(description="The redirection may end: 307, not 308.")] = False,
    path: Annotated[
        str, Meta(max_length=1024, description="Only requests whose path starts with this.")
    ] = "/",
    strip: Annotated[bool, Meta(description="Take the path off before passing on.")] = False,
    balance: Annotated[
        BalanceMode, Meta(description="How requests are spread over several addresses.")
    ] = BalanceMode.ROUND_ROBIN,
    health: Annotated[
        str | None, Meta(description="A path that each address answers if it is well.")
    ] = None,
    tls_upstream: Annotated[bool, Meta(description="The addresses speak TLS.")] = False,
    tls: Annotated[
        TlsMode,
        Meta(description="Where the certificate comes from; off serves plain HTTP."),
    ] = TlsMode.AUTO,
    user: Annotated[
        str, Meta(min_length=1, max_length=100, description="Ask for this user and a password.")
    ]
    | None = None,
    password: Annotated[Secret | None, Meta(description="The password of --user.")] = None,
    allow: Annotated[
        list[Network], Meta(max_length=1000, description="Only these networks may ask.")
    ]
    | None = None,
    max_body_bytes: Annotated[int, Meta(ge=0, description="The largest request body, in bytes.")]
    | None = None,
    header: Annotated[
        list[HeaderLine], Meta(max_length=100, description="Add 'Name: value' to each answer.")
    ]
    | None = None,
    response_timeout: Annotated[
        float, Meta(gt=0, description="Seconds to wait for an answer to begin.")
    ]
    | None = None,
    compress: Annotated[bool, Meta(description="Compress what can be compressed.")] = True,
) -> list[RouteView]:
    """Serve hosts that are not those of an app: by other servers, a directory or a redirection.

    The route takes the place of one with the same name, hosts and path; others of that name stay.
    """
    routes = ctx.service(RoutesService)
    if directory is not None:
        if not Path(directory).is_dir():
            raise InvalidRequestError(
                f"{directory} is no directory of this machine.", hint="Give the path of one."
            )
        routes.check_directory(directory)
    if (user is None) is not (password is None):
        raise InvalidRequestError(
            "A user and a password belong together.", hint="Give both, or neither."
        )
    accounts: tuple[BasicAuth, ...] = ()
    if user is not None and password is not None:
        accounts = (BasicAuth(user, await routes.hash_password(password)),)
    rules = RouteRules(
        tls=tls,
        basic_auth=accounts,
        allow_from=tuple(allow or ()),
        max_body_bytes=max_body_bytes,
        compress=compress,
        response_timeout_s=response_timeout,
        headers=_headers(header or []),
    )
    wanted = Wanted(
        name=name,
        hosts=hosts,
        path=path,
        to=to or (),
        directory=directory,
        fallback=fallback,
        not_found=not_found,
        redirect=redirect,
        temporary=temporary,
        balance=balance,
        health=health,
        tls_upstream=tls_upstream,
        strip=strip,
        rules=rules,
    )
    made = make_route(wanted)
    owner = owner_of(name)
    await routes.put_with_pools(owner, merge(routes.of(owner), made.route), made.pools)
    return [item for item in view_routes(routes) if item.owner == owner]


@operation(
    "routes.remove",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/routes/{name}",
    examples=("routes remove wiki",),
)
async def remove_route(ctx: Context, name: RouteName) -> list[RouteView]:
    """Serve the hosts of a route no more."""
    routes = ctx.service(RoutesService)
    owner = owner_of(name)
    if not routes.of(owner) and owner not in routes.problems:
        raise NotFoundError(
            f"There is no route with the name {name}.", hint="See them: covey routes list"
        )
    found = [item for item in view_routes(routes) if item.owner == owner]
    await routes.remove(owner)
    return found


@operation(
    "routes.certificate",
    access=Role.OPERATOR,
    effect=Effect.CHANGE,
    http="PUT /api/v1/routes/certificates/{host}",
    examples=("routes certificate shop.example.org shop.pem shop.key",),
)
async def put_certificate(
    ctx: Context,
    host: Host,
    chain: Annotated[
        str, Meta(max_length=1 << 20, description="The certificate with its chain, as PEM.")
    ],
    key: Annotated[Secret, Meta(description="Its private key, as PEM.")],
) -> CertificateView:
    """Use a certificate of your own for a host, or for all that a wildcard stands for."""
    kept = await ctx.service(RoutesService).put_certificate(host, chain, key)
    return CertificateView(host, CertificateSource.CUSTOM, list(kept.hosts), "", expiry(kept))


@operation(
    "routes.certificates",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/routes/certificates",
    examples=("routes certificates",),
)
async def list_certificates(ctx: Context) -> list[CertificateView]:
    """List the certificates that clients are shown, and those that were uploaded."""
    routes = ctx.service(RoutesService)
    found = [
        CertificateView(host, CertificateSource.CUSTOM, list(kept.hosts), "", expiry(kept))
        for host, kept in routes.certificates().items()
    ]
    for host in hosts_of(route for all_ in routes.all().values() for route in all_):
        source = routes.source(host)
        if source in {None, CertificateSource.NONE, CertificateSource.CUSTOM}:
            continue
        shown = await routes.served(host)
        found.append(
            CertificateView(
                host,
                str(source),
                [host],
                "" if shown is None else shown.issuer,
                None if shown is None else shown.expires,
            )
        )
    return sorted(found, key=lambda item: item.host)


@operation(
    "routes.remove-certificate",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="DELETE /api/v1/routes/certificates/{host}",
    examples=("routes remove-certificate shop.example.org",),
)
async def remove_certificate(ctx: Context, host: Host) -> CertificateView:
    """Forget an uploaded certificate."""
    routes = ctx.service(RoutesService)
    try:
        await routes.remove_certificate(host)
    except InvalidRequestError as error:
        raise ConflictError(
            f"The certificate is needed: {error.message}",
            hint="Give the route another tls mode, or remove it first.",
        ) from error
    return CertificateView(host, CertificateSource.CUSTOM)


@operation(
    "routes.authority",
    access=Role.VIEWER,
    effect=Effect.READ,
    http="GET /api/v1/routes/authority",
    examples=("routes authority",),
)
async def authority(ctx: Context) -> AuthorityView:
    """Print the certificate to trust for private names, such as those below localhost."""
    return AuthorityView(await ctx.service(RoutesService).authority())


@operation(
    "routes.stop",
    access=Role.OPERATOR,
    effect=Effect.DESTROY,
    http="POST /api/v1/routes:stop",
    examples=("routes stop",),
)
async def stop_proxy(ctx: Context) -> ProxyStopped:
    """End the proxy, which outlasts the daemon; it comes back with the next change or start."""
    routes = ctx.service(RoutesService)
    await routes.end_proxy()
    return ProxyStopped(sum(len(found) for found in routes.all().values()))


def _headers(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found[name] = value.strip()
    return found
