"""Build with Docker: by its program, whose BuildKit knows secrets, or over the API without."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from covey.apps.containers import BuildRequest
from covey.engines.containers.api import Api
from covey.engines.containers.build import Told, build_over_api
from covey.engines.containers.container_documents import image_id
from covey.engines.containers.context import read_context
from covey.engines.containers.host_limits import find_program
from covey.engines.containers.step_images import StepImages
from covey.engines.process_end import end_process
from covey.engines.program_output import OutputTooLongError, program_output
from covey.errors import CoveyError, DeadlineExceededError

_CHUNK = 64 << 10
_ANSWER_S = 10.0
_END_S = 3.0
_BUILDX_APART = 23
_SECRET = "COVEY_BUILD_SECRET_"  # noqa: S105 - the prefix of a variable
# Variables that the program itself, or the kernel that loads it, would obey.
_ACT_ON_DOCKER = (
    *("PATH", "HOME", "TMPDIR", "DOCKER_", "BUILDKIT_", "BUILDX_", "COMPOSE_", "XDG_", "SSL_"),
    *("GODEBUG", "GOMAXPROCS", "GOTRACEBACK", "LD_", "OTEL_", _SECRET),
)


async def build_by_program(
    api: Api, request: BuildRequest, told: Told, environ: Mapping[str, str]
) -> str:
    """Build and return the image's id; without BuildKit there are no secrets."""
    program = find_program("docker", environ)
    if program is None or not await _has_buildkit(program, environ):
        if request.secrets:
            raise CoveyError(
                "Build secrets need Docker's BuildKit, which is not on this machine.",
                hint="Install the docker program with docker-buildx, or build with Podman.",
            )
        return await _build_without(api, request, told)
    context = await asyncio.to_thread(
        read_context, request.context, request.dockerfile, request.dockerfile_text, {}
    )
    if request.resources.memory_bytes is not None or request.resources.cpus is not None:
        told.line("Docker's BuildKit takes no limits: this build may use all of the machine.")
    with tempfile.TemporaryDirectory(prefix="covey-build-") as directory:
        names = Path(directory) / "image"
        words, own = docker_command(request, context.dockerfile, names)
        own["DOCKER_HOST"] = f"unix://{api.socket_path}"
        base = {name: value for name, value in environ.items() if name != "DOCKER_CONTEXT"}
        try:
            async with asyncio.timeout(request.timeout_s):
                code = await _run([program, *words], {**base, **own}, context.packed(), told)
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"The build took longer than {request.timeout_s:.0f} s and was ended.",
                hint="Raise build_timeout under [apps], or see in its log what it waits for.",
            ) from error
        if code != 0 or not names.exists():
            raise told.failure(f"docker build ended with status {code}")
        return image_id(names.read_text().strip())


async def _build_without(api: Api, request: BuildRequest, told: Told) -> str:
    images = StepImages()
    told.watch = images.line
    try:
        return await build_over_api(api, request, told, None)
    except BaseException:
        await asyncio.shield(asyncio.create_task(images.remove(api)))
        raise


async def _has_buildkit(program: str, environ: Mapping[str, str]) -> bool:
    """Tell whether it is in the program (before version 23) or beside it."""
    for words in (("buildx", "version"), ("version", "--format", "{{.Client.Version}}")):
        try:
            code, output = await program_output(
                [program, *words], most_bytes=_CHUNK, timeout_s=_ANSWER_S, environ=environ
            )
        except (OSError, TimeoutError, OutputTooLongError):
            return False
        if words[0] == "buildx" and code == 0:
            return True
        major = output.split(b".")[0]
        if major.isdigit():
            return int(major) < _BUILDX_APART
    return False


def docker_command(
    request: BuildRequest, dockerfile: str, names: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the words, and the environment, which process lists do not show, for the values."""
    environ = {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
    words = ["build", "--iidfile", str(names), "--tag", request.tag, "--file", dockerfile]
    for key, value in request.labels.items():
        words += ["--label", f"{key}={value}"]
    for name, value in request.args.items():
        if name.startswith(_ACT_ON_DOCKER):
            words += ["--build-arg", f"{name}={value}"]
        else:
            words += ["--build-arg", name]
            environ[name] = value
    for number, (name, value) in enumerate(request.secrets.items()):
        words += ["--secret", f"id={name},env={_SECRET}{number}"]
        environ[f"{_SECRET}{number}"] = value
    if request.target is not None:
        words += ["--target", request.target]
    if not request.cache:
        words.append("--no-cache")
    return [*words, "-"], environ


async def _run(
    words: list[str], environ: dict[str, str], context: AsyncIterator[bytes], told: Told
) -> int:
    """Run it with the context as its input; it ends when we are cancelled."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101 - both were asked for
    assert process.stdout is not None  # noqa: S101
    sending = asyncio.create_task(_send(process.stdin, context))
    try:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while data := await process.stdout.read(_CHUNK):
            told.feed(decoder.decode(data))
        told.end()
        return await process.wait()
    finally:
        sending.cancel()
        failed = (await asyncio.gather(sending, return_exceptions=True))[0]
        await end_process(process, _END_S, group=True)
        if isinstance(failed, CoveyError):
            raise failed


async def _send(pipe: asyncio.StreamWriter, context: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(OSError):
        try:
            async for piece in context:
                pipe.write(piece)
                await pipe.drain()
        finally:
            pipe.close()
