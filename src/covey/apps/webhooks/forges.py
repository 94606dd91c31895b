"""All forges by name."""

from __future__ import annotations

from covey.apps.webhooks.bitbucket import Bitbucket
from covey.apps.webhooks.forge import Forge
from covey.apps.webhooks.gitea import Gitea
from covey.apps.webhooks.github import GitHub
from covey.apps.webhooks.gitlab import GitLab
from covey.apps.webhooks.model import ForgeName

_FORGES: dict[ForgeName, Forge] = {
    forge.name: forge for forge in (GitHub(), GitLab(), Gitea(), Bitbucket())
}


def forge_of(name: ForgeName) -> Forge:
    """Return a forge's webhooks."""
    return _FORGES[name]
