"""From a source to a release: fetch the files, read the app file, build or pull the image."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from covey.apps.config.buildplan import (
    BuildPlan,
    DockerfileBuild,
    GeneratedBuild,
    SiteBuild,
    is_public,
    leads_out,
    prepare,
)
from covey.apps.config.load import AppFile
from covey.apps.config.merge import effective
from covey.apps.config.model import AppConfig
from covey.apps.containers import BuildRequest, ContainerEngine, Resources
from covey.apps.deployments import Deployments
from covey.apps.environment import AppEnvironment
from covey.apps.masking import Masking
from covey.apps.model import App, Built, Deployment, Release
from covey.apps.plan import Here
from covey.apps.sources import ImageSource, Source, SourceFetcher
from covey.errors import (
    ConflictError,
    CoveyError,
    InvalidRequestError,
    NotFoundError,
    StorageError,
)
from covey.jobs.api import JobRun

_DEFAULT_PORT = 8080
_SOURCE = "source"
_SITE = "site"
_LONGEST_MESSAGE = 2000


class _Fetched(msgspec.Struct, frozen=True):
    source: Source
    commit: str = ""
    message: str = ""


class _Configured(msgspec.Struct, frozen=True):
    file: AppFile
    config: AppConfig


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """What one build may use."""

    resources: Resources
    timeout_s: float


class Builder:
    """Makes releases on this node."""

    def __init__(
        self,
        engine: ContainerEngine,
        fetcher: SourceFetcher,
        environment: AppEnvironment,
        deployments: Deployments,
        here: Here,
        limits: BuildLimits,
    ) -> None:
        self._engine = engine
        self._fetcher = fetcher
        self._environment = environment
        self._deployments = deployments
        self._here = here
        self._limits = limits

    async def build(
        self,
        job: JobRun,
        app: App,
        deployment: Deployment,
        say: Masking,
        note: Callable[[Deployment], Awaitable[None]],
    ) -> Release:
        """Make the release of a deployment, in steps that are not repeated after a crash.

        `note` is told what the source turned out to be.
        """
        job.progress(0.05, "fetching")
        fetched = await job.step("fetch", lambda: self._fetch(app, deployment, say), _Fetched)
        if (fetched.source, fetched.commit) != (deployment.source, deployment.commit):
            deployment = msgspec.structs.replace(
                deployment,
                source=fetched.source,
                commit=fetched.commit or deployment.commit,
                message=fetched.message or deployment.message,
            )
            await note(deployment)
        root = self._work(deployment) / _SOURCE
        with _on_disk(self._work(deployment)):
            found = await job.step(
                "configure", lambda: self._configure(app, deployment, root, say), _Configured
            )
            job.progress(0.15, "building")
            release = await job.step(
                "build", lambda: self._make(app, deployment, found, root, say), Release
            )
        await asyncio.to_thread(shutil.rmtree, self._work(deployment), ignore_errors=True)
        return release

    async def again(self, app: App, number: int) -> Release:
        """Return the release of an earlier deployment, under the overrides of now."""
        found = self._deployments.get(app.name, number)
        if found.release is None:
            raise ConflictError(
                f"Deployment {number} of {app.name} was never built.",
                hint=f"Choose one of: covey apps releases {app.name}",
            )
        release = found.release
        await self.require(app, found.number, release)
        config = effective(release.file, app.overrides).config
        config = msgspec.structs.replace(config, build=release.config.build)
        return msgspec.structs.replace(release, config=config, port=config.port or release.port)

    async def require(self, app: App, number: int, release: Release) -> None:
        """Raise `NotFoundError` if what a deployment built is not kept any more."""
        image = release.built.image
        if image and await self._engine.image(image) is None:
            raise NotFoundError(
                f"The image of deployment {number} of {app.name} is gone.",
                hint="Deploy that version's source again.",
            )
        site = self._here.places.site_of(app.name, release.built_by)
        if release.built.static and not await asyncio.to_thread(site.is_dir):
            raise NotFoundError(
                f"The files of deployment {number} of {app.name} are gone.",
                hint="Deploy that version's source again.",
            )

    async def link_site(self, app: str, number: int) -> None:
        """Let the link to the site in service lead to a deployment's files, in one step."""

        def link() -> None:
            place = self._here.places.current_site(app)
            fresh = place.with_name(f".current-{number}")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(str(number))
            fresh.replace(place)

        with _on_disk(self._here.places.static / app):
            await asyncio.to_thread(link)

    async def _fetch(self, app: App, deployment: Deployment, say: Masking) -> _Fetched:
        source = deployment.source
        if source is None:
            raise InvalidRequestError(f"{app.name} has no source to deploy from.")
        if isinstance(source, ImageSource):
            return _Fetched(source)
        work = self._work(deployment)

        def make_room() -> None:
            shutil.rmtree(work, ignore_errors=True)
            (work / _SOURCE).mkdir(mode=0o700, parents=True)

        try:
            await asyncio.to_thread(make_room)
        except OSError as error:
            raise StorageError(
                f"There is no place to build in: {error.strerror}.",
                hint=f"Look after {work.parent}.",
            ) from error
        source = await self._fetcher.resolve(source)
        fetched = await self._fetcher.fetch(app.name, source, work / _SOURCE, say)
        if fetched.commit:
            title = fetched.message.partition("\n")[0][:72]
            say(f"fetched {fetched.commit[:12]} {title}".rstrip())
        return _Fetched(source, fetched.commit, fetched.message[:_LONGEST_MESSAGE])

    async def _configure(
        self, app: App, deployment: Deployment, root: Path, say: Masking
    ) -> _Configured:
        if isinstance(deployment.source, ImageSource):
            found = effective(AppFile(), app.overrides)
            return _Configured(AppFile(), found.config)
        prepared = await asyncio.to_thread(prepare, root, app.overrides)
        say(prepared.plan.reason)
        for warning in prepared.warnings:
            say(f"note: {warning}")
        return _Configured(prepared.file, prepared.config)

    async def _make(
        self, app: App, deployment: Deployment, found: _Configured, root: Path, say: Masking
    ) -> Release:
        number = deployment.number
        if isinstance(deployment.source, ImageSource):
            image = await self._pull(deployment.source.reference, app.name, number, say)
            return await self._released(found, Built(image=image), number)
        plan = (await asyncio.to_thread(prepare, root, app.overrides)).plan
        if isinstance(plan, SiteBuild) and plan.text is None:
            source = root / plan.directory
            await asyncio.to_thread(self._keep_site, app.name, number, source)
            return await self._released(found, Built(static=str(number)), number)
        request = await self._request(app, deployment, found.config, plan, root, say)
        image = await self._engine.build(request, say)
        if not isinstance(plan, SiteBuild):
            return await self._released(found, Built(image=image), number)
        made = self._work(deployment) / _SITE
        await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)
        try:
            await self._engine.copy_out(image, plan.built_at, made)
        finally:
            await self._engine.remove_image(image)
        await asyncio.to_thread(self._keep_site, app.name, number, made)
        return await self._released(found, Built(static=str(number)), number)

    async def _pull(self, reference: str, app: str, number: int, say: Masking) -> str:
        """Fetch an image; what was not here before is kept by Covey's own tag alone.

        One that is here is run if its registry does not give it, as when there is no network.
        """
        before = await self._engine.image(reference)
        try:
            image = await self._engine.pull(reference, say)
        except CoveyError as error:
            if before is None:
                raise
            say(f"note: {error.message}")
            say(f"note: {reference} is run as it is here")
            image = before.id
        await self._engine.tag_image(image, self._here.naming.image(app, number))
        if before is None:
            await self._engine.remove_image(reference)
        return image

    async def _request(
        self,
        app: App,
        deployment: Deployment,
        config: AppConfig,
        plan: BuildPlan,
        root: Path,
        say: Masking,
    ) -> BuildRequest:
        variables = await self._environment.resolve(app, config)
        say.learn(variables.secrets)
        missing = [name for name in config.build.secrets if name not in variables.values]
        if missing:
            raise InvalidRequestError(
                f"The build wants the secret {missing[0]}, which {app.name} does not have.",
                hint=f"Set it: covey apps env set {app.name} {missing[0]}",
            )
        secrets = {name: variables.values[name] for name in config.build.secrets}
        say.learn(secrets.values())
        context = root / plan.context
        name, text = await asyncio.to_thread(_dockerfile, root, plan)
        await asyncio.to_thread(add_ignored, context, name, plan.ignore)
        return BuildRequest(
            context=context,
            tag=self._here.naming.image(app.name, deployment.number),
            labels=self._here.naming.build_labels(app.name, deployment.number),
            dockerfile=name,
            dockerfile_text=text,
            target=config.build.target if isinstance(plan, DockerfileBuild) else None,
            args=config.build.args,
            secrets=secrets,
            resources=self._limits.resources,
            timeout_s=self._limits.timeout_s,
        )

    async def _released(self, found: _Configured, built: Built, number: int) -> Release:
        config = found.config
        port = config.port
        if port is None and built.image:
            state = await self._engine.image(built.image)
            exposed = () if state is None else state.exposed_ports
            port = exposed[0] if len(exposed) == 1 else None
        return Release(
            built=built,
            built_by=number,
            file=found.file,
            config=config,
            port=port or _DEFAULT_PORT,
        )

    def _keep_site(self, app: str, number: int, source: Path) -> None:
        """Copy the files of a site: no links out of it, no hidden files, and none of the build.

        A build's directory may be the whole source, with what its tools keep beside it.
        """
        place = self._here.places.site_of(app, number)

        def leave_out(directory: str, names: list[str]) -> set[str]:
            here = Path(directory)
            below = here.relative_to(source)
            hidden = {name for name in names if not is_public(str(below / name))}
            return hidden | {name for name in names if leads_out(here / name, source)}

        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(source, place, symlinks=True, ignore=leave_out)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            # A copy of many files tells of each that failed: `(source, target, why)`.
            first = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
            raise StorageError(
                f"The site's files could not be kept: {first}.",
                hint=f"Look after {place.parent}.",
            ) from error

    def _work(self, deployment: Deployment) -> Path:
        return self._here.places.work_of(deployment.app, deployment.number)


@contextmanager
def _on_disk(place: Path) -> Iterator[None]:
    """Say what a disk that is full, or fails, means for a deployment."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        raise StorageError(
            f"The files of the version could not be read or written: {error.strerror or error}.",
            hint=f"Look after {place}: is there space left on its disk?",
        ) from error


def add_ignored(context: Path, dockerfile: str, patterns: Sequence[str]) -> None:
    """Leave more files out of a build, in the copy of the source that is built.

    They go to the ignore file that counts; raises `InvalidRequestError` if none can be written.
    """
    if not patterns:
        return
    names = (f"{dockerfile}.dockerignore", ".containerignore", ".dockerignore")
    present = (context / name for name in names if (context / name).is_file())
    place = next(present, context / ".dockerignore")
    try:
        text = place.read_text("utf-8", "replace") if place.is_file() else ""
        if place.is_symlink():
            place.unlink()
        place.write_text("\n".join([text.rstrip("\n"), *patterns, ""]), "utf-8")
    except OSError as error:
        raise InvalidRequestError(
            f"{place.name} of the source is no file that can be read.",
            hint="Make it a plain file, or remove it.",
        ) from error


def _dockerfile(root: Path, plan: BuildPlan) -> tuple[str, str | None]:
    """Return the Dockerfile's name in the context, or any name and its text."""
    match plan:
        case DockerfileBuild(dockerfile=name, outside=outside):
            text = (root / name).read_text("utf-8", "replace") if outside else None
            return ("Dockerfile" if outside else name), text
        case GeneratedBuild() | SiteBuild():
            return "Containerfile", plan.text
