"""The arguments that operations on apps share."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Number = Annotated[int, Meta(ge=1, description="The deployment's number.")]
Project = Annotated[
    str,
    Meta(description="The project whose variables it gets; by default its own name."),
]
Environment = Annotated[
    str,
    Meta(description="The environment of that project; by default production."),
]
GitUrl = Annotated[
    str,
    Meta(min_length=1, max_length=2000, description="A git repository, by https or ssh."),
]
GitRef = Annotated[
    str, Meta(max_length=250, description="Its branch, tag or commit; by default its HEAD.")
]
Subdirectory = Annotated[
    str, Meta(max_length=1000, description="The directory of the repository that is the app.")
]
KeyName = Annotated[str, Meta(max_length=63, description="The deploy key or token that opens it.")]
Image = Annotated[
    str,
    Meta(min_length=1, max_length=500, description="An image that is run as it is."),
]
Upload = Annotated[str, Meta(max_length=100, description="The id of an uploaded directory.")]
Assignment = Annotated[
    str,
    Meta(
        pattern=r"^[^=\s]+=",
        max_length=20_000,
        description="A key of the app file and its value, such as deploy.replicas=3.",
    ),
]
