"""Images of the engine: look, pull, tag, remove."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import msgspec

from covey.apps.containers import ImageState, Log
from covey.engines.containers.api import Api
from covey.engines.containers.failures import delete, doing, find
from covey.engines.containers.image_documents import (
    image_state,
    listed_image,
    registry_of,
    split_tag,
)
from covey.errors import CoveyError


async def find_image(api: Api, reference: str) -> ImageState | None:
    """Describe an image, or return None."""
    with doing(f"look at the image {reference}"):
        found = await find(api, f"/images/{reference}/json")
    return None if found is None else image_state(found)


async def labelled_images(api: Api, labels: Mapping[str, str]) -> list[ImageState]:
    """List the images that have all these labels."""
    with doing("list the images"):
        listed = await api.call("GET", "/images/json", {"filters": label_filter(labels)})
    found = [listed_image(one) for one in listed]
    return [image for image in found if labels.items() <= image.labels.items()]


async def pull_image(api: Api, reference: str, log: Log, *, username: str, password: str) -> str:
    """Fetch an image unless what is here cannot differ; return its id."""
    if reference.startswith(("localhost/", "sha256:")) or "@" in reference:
        present = await find_image(api, reference)
        if present is not None:
            return present.id
    name, tag = split_tag(reference)
    query = {"fromImage": reference} if "@" in reference else {"fromImage": name, "tag": tag}
    headers = {}
    if username or password:
        account = {"username": username, "password": password, "serveraddress": registry_of(name)}
        encoded = base64.urlsafe_b64encode(msgspec.json.encode(account)).decode()
        headers["X-Registry-Auth"] = encoded
    with doing(f"fetch the image {reference}"):
        async with api.open("POST", "/images/create", query, headers=headers) as answer:
            async for line in answer.lines():
                _tell(line, reference, log)
    found = await find_image(api, reference)
    if found is None:
        raise CoveyError(
            f"The image {reference} was not fetched.", hint="See whether its name is right."
        )
    return found.id


async def remove_unused_image(api: Api, reference: str) -> None:
    """Remove an image or its tag, never by force; a missing one is no error."""
    with doing(f"remove the image {reference}"):
        await delete(api, f"/images/{reference}", {"force": False})


def label_filter(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the filter for things that have all these labels."""
    return {"label": [f"{key}={value}" for key, value in labels.items()]} if labels else {}


class _Line(msgspec.Struct):
    status: str = ""
    stream: str = ""
    id: str = ""
    error: str = ""


def _tell(content: bytes, reference: str, log: Log) -> None:
    line = msgspec.json.decode(content, type=_Line)
    if line.error:
        raise CoveyError(
            f"The image {reference} cannot be fetched: {line.error}",
            hint="See whether its name is right and its registry can be reached from here.",
        )
    text = line.status or line.stream.rstrip("\n")
    if text:
        log(f"{line.id}: {text}" if line.id and line.status else text)
