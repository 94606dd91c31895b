"""The modules whose operations a node offers; registration is this tuple and nothing else."""

from __future__ import annotations

from types import ModuleType

from covey.apps import (
    app_operations,
    deployment_operations,
    domain_operations,
    key_operations,
    push_operations,
    upload_operations,
    volume_operations,
)
from covey.apps import env_operations as app_env_operations
from covey.apps.config import eject_operations
from covey.apps.routing import routing_operations
from covey.apps.webhooks import webhook_operations
from covey.env import exchange_operations
from covey.env import operations as env_operations
from covey.fleet import (
    audit_operations,
    discovery_operations,
    node_operations,
    operations,
    token_operations,
)
from covey.jobs import job_operations
from covey.remote import exec_operations, files_operations, tunnel_operations

OPERATION_MODULES: tuple[ModuleType, ...] = (
    node_operations,
    operations,
    discovery_operations,
    env_operations,
    exchange_operations,
    token_operations,
    audit_operations,
    exec_operations,
    files_operations,
    tunnel_operations,
    job_operations,
    app_operations,
    deployment_operations,
    app_env_operations,
    domain_operations,
    upload_operations,
    key_operations,
    volume_operations,
    push_operations,
    eject_operations,
    webhook_operations,
    routing_operations,
)
