"""The shape of the command tree that the operations do not tell: aliases, order, local commands."""

from __future__ import annotations

from typing import NamedTuple

ALIASES: dict[str, tuple[str, ...]] = {
    "audit": ("audit", "list"),
    "delete": ("env", "unset"),
    "exec": ("exec", "run"),
    "doctor": ("node", "doctor"),
    "export": ("env", "export"),
    "get": ("env", "get"),
    "invite": ("fleet", "invite"),
    "list": ("env", "list"),
    "lock": ("node", "lock"),
    "peers": ("peers", "list"),
    "run": ("env", "run"),
    "set": ("env", "set"),
    "shutdown": ("node", "shutdown"),
    "status": ("node", "status"),
    "sync": ("sync", "now"),
    "unlock": ("node", "unlock"),
}
"""Short names at the top level, and the commands that they stand for."""


class LocalCommand(NamedTuple):
    """A command made by hand: its builder as `module:function` below this package."""

    builder: str
    summary: str


LOCAL: dict[tuple[str, ...], LocalCommand] = {
    ("agent", "install"): LocalCommand(
        "agent_service:install", "Start the daemon with the machine."
    ),
    ("agent", "logs"): LocalCommand("agent_logs:logs", "Show the daemon's log."),
    ("agent", "start"): LocalCommand("agent:start", "Start the daemon in the background."),
    ("agent", "status"): LocalCommand("agent:status", "Say whether the daemon runs."),
    ("agent", "stop"): LocalCommand("agent:stop", "Stop the daemon within ten seconds."),
    ("agent", "uninstall"): LocalCommand(
        "agent_service:uninstall", "Remove what `agent install` made."
    ),
    ("ansible-plugins",): LocalCommand(
        "ansible_plugins:ansible_plugins", "Print where Ansible finds the plugin for the mesh."
    ),
    ("apps", "open"): LocalCommand("app_commands:open_app", "Open an app in the browser."),
    ("completion",): LocalCommand(
        "completion_command:completion", "Print a shell's completion script."
    ),
    ("config", "check"): LocalCommand("config_commands:check", "Check the settings for mistakes."),
    ("config", "path"): LocalCommand("config_commands:path", "Print where the settings file is."),
    ("config", "show"): LocalCommand("config_commands:show", "Show every setting and its origin."),
    ("cp",): LocalCommand("copy_commands:cp", "Copy files from any machine to any other."),
    ("deploy",): LocalCommand("deploy_commands:deploy", "Deploy a directory or an app."),
    ("env", "run"): LocalCommand("env_run:run", "Run a command with the variables that apply."),
    ("fleet", "authority"): LocalCommand(
        "fleet_authority:authority", "Print the fleet's certificate, for --url elsewhere."
    ),
    ("init",): LocalCommand("membership:init", "Make a new fleet with this machine in it."),
    ("join",): LocalCommand("membership:join", "Join a fleet with an invitation."),
    ("recover",): LocalCommand("membership:recover", "Regain a fleet with its recovery key."),
    ("shell-init",): LocalCommand("shell_init:shell_init", "Print the hook for a shell's rc file."),
    ("shell",): LocalCommand("exec_commands:shell", "Open a shell on a host."),
    ("sync-dir",): LocalCommand(
        "copy_commands:sync_dir", "Make a directory on one machine like one on another."
    ),
    ("tunnel",): LocalCommand(
        "tunnel_command:tunnel", "Forward TCP ports from one machine to another."
    ),
    ("up",): LocalCommand("up:up", "Run the daemon in this terminal."),
}
"""Commands that stand beside the operations; some of them work without a daemon."""

FRONT_ENDS: dict[str, LocalCommand] = {
    "apps.deploy": LocalCommand("deploy_commands:rollout", "Deploy an app from its source."),
    "apps.domains.add": LocalCommand("deploy_commands:rollout", "Let an app answer at a name."),
    "apps.domains.remove": LocalCommand("deploy_commands:rollout", "Take a name from an app."),
    "apps.eject": LocalCommand(
        "eject_command:eject", "Keep the Containerfile that an app is built by."
    ),
    "apps.env.set": LocalCommand("deploy_commands:set_env", "Set variables of an app."),
    "apps.env.unset": LocalCommand("deploy_commands:rollout", "Remove a variable of an app."),
    "apps.exec": LocalCommand("app_commands:run_in_app", "Run a command in an app's container."),
    "apps.restart": LocalCommand("deploy_commands:rollout", "Exchange an app's containers."),
    "apps.rollback": LocalCommand("deploy_commands:rollout", "Run an earlier version again."),
    "apps.run": LocalCommand(
        "app_commands:run_in_app", "Run a command with an app's image and variables."
    ),
    "apps.scale": LocalCommand("deploy_commands:rollout", "Change how many containers run."),
    "apps.set": LocalCommand("deploy_commands:rollout", "Set keys over those of the app file."),
    "apps.start": LocalCommand("deploy_commands:rollout", "Start an app that was stopped."),
    "apps.unset": LocalCommand("deploy_commands:rollout", "Let the app file's value count again."),
    "audit.play": LocalCommand("audit_play:play", "Play a recorded command or shell."),
    "env.get": LocalCommand("env_get:get", "Print the value of one variable."),
    "env.import": LocalCommand("env_files:import_", "Import variables from a file."),
    "env.set": LocalCommand("env_set:set_", "Set variables, each as NAME=VALUE."),
    "exec.attach": LocalCommand(
        "exec_commands:attach", "Follow a detached command, and pass input to it."
    ),
    "exec.logs": LocalCommand("exec_commands:logs", "Show what a detached command has written."),
    "exec.run": LocalCommand("exec_commands:run", "Run a command on any host."),
    "files.cat": LocalCommand("files_commands:cat", "Print a file of any machine."),
    "files.hash": LocalCommand("files_commands:plain", "Print a file's checksum."),
    "files.ls": LocalCommand("files_commands:ls", "List a directory of any machine."),
    "files.mkdir": LocalCommand("files_commands:plain", "Make a directory on any machine."),
    "files.rm": LocalCommand("files_commands:plain", "Remove a file on any machine."),
    "files.stat": LocalCommand("files_commands:plain", "Describe a file of any machine."),
    "env.scan": LocalCommand(
        "env_files:scan", "Find the fleet's secrets in files and staged changes."
    ),
    "routes.certificate": LocalCommand(
        "route_commands:certificate", "Use a certificate of your own for a host."
    ),
    "node.doctor": LocalCommand("doctor:doctor", "Check what can be wrong here, and name the fix."),
    "node.unlock": LocalCommand("unlock:unlock", "Open the node's keys with the master password."),
}
"""Hand-made commands that stand in for an operation's own."""

VIEWS: dict[str, str] = {
    "apps.cancel": "app_commands:deployment_cancelled",
    "apps.create": "app_commands:app_made",
    "apps.destroy": "app_commands:app_destroyed",
    "apps.deployment-logs": "job_views:log_line",
    "apps.logs": "app_commands:app_line",
    "apps.maintenance": "app_commands:maintained",
    "apps.show": "app_commands:show_app",
    "apps.stop": "app_commands:app_stopped",
    "env.conflicts": "outcomes:conflicts",
    "env.copy": "outcomes:copied",
    "env.export": "views:exported",
    "env.resolve": "outcomes:resolved",
    "env.rollback": "outcomes:rolled_back",
    "env.unset": "outcomes:unset",
    "fleet.rename": "outcomes:renamed",
    "fleet.set-field": "outcomes:recorded",
    "fleet.set-role": "outcomes:given_role",
    "fleet.unset-field": "outcomes:recorded",
    "jobs.cancel": "job_views:cancelled",
    "jobs.logs": "job_views:log_line",
    "jobs.prune": "job_views:pruned",
    "jobs.retry": "job_views:repeated",
    "jobs.show": "job_views:show_job",
    "jobs.watch": "job_views:watched",
    "node.doctor": "views:show_checks",
    "node.logs": "views:log_line",
    "node.status": "views:status",
    "sync.now": "outcomes:synced",
    "token.revoke": "outcomes:revoked",
}
"""How the results of some operations are shown to people."""

ALONE: dict[str, str] = {
    "routes.authority": "certificate",
    "fleet.invite": "token",
    "fleet.renew-recovery-key": "recovery_key",
    "token.create": "token",
}
"""The field that stands alone on standard output, so that it can be piped; the rest is a note."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "apps.deployments": ("number", "state", "trigger", "commit", "message", "created", "caller"),
    "apps.env.list": ("name", "value", "author", "updated_at"),
    "apps.keys.hosts": ("host", "algorithm", "fingerprint", "since"),
    "apps.keys.list": ("name", "kind", "site", "created_at", "created_by"),
    "apps.list": ("name", "state", "url", "host", "deployment", "updated"),
    "apps.releases": ("number", "serving", "commit", "message", "created", "caller"),
    "audit.list": ("at", "caller", "operation", "target", "outcome", "role", "kind", "address"),
    "env.list": ("name", "value", "scope", "author", "updated_at", "problem", "conflict", "note"),
    "env.search": ("name", "value", "scope", "author", "updated_at", "conflict", "note"),
    "env.history": ("version", "value", "author", "updated_at", "current", "deleted", "compacted"),
    "fleet.discover": (
        "name",
        "standing",
        "connected",
        "sources",
        "addresses",
        "problem",
        "hint",
    ),
    "fleet.list": ("name", "standing", "role", "kind", "connected", "addresses", "joined_at"),
    "jobs.list": ("id", "state", "title", "created", "doing", "caller"),
    "jobs.schedules": ("name", "cron", "zone", "next", "title", "last_job"),
    "peers.list": (
        "name",
        "state",
        "round_trip_ms",
        "address",
        "source",
        "route",
        "last_seen_at",
        "kind",
        "entries_behind",
        "last_error",
    ),
    "routes.certificates": ("host", "source", "expires", "issuer", "names"),
    "routes.list": ("url", "to", "owner", "tls", "hosts", "users", "allow_from", "problem"),
    "token.list": ("name", "role", "allow", "expires_at", "created_by", "id"),
}
"""The columns that people see of some lists, the most telling first; --json has all."""

EMPTY: dict[str, str] = {
    "apps.keys.hosts": "No SSH server of a repository was seen yet.",
    "apps.keys.list": "There is no key. Make one: covey apps keys create NAME",
    "apps.list": "There is no app. Deploy one: covey deploy DIR",
    "apps.volumes.list": "No app has a volume on this machine.",
    "env.diff": "The two are the same.",
    "env.list": "No variable is set here. Set one: covey env set NAME=VALUE",
    "fleet.invitations": "No invitation is open. Make one: covey invite",
    "jobs.list": "There are no jobs: nothing that takes long was started here.",
    "jobs.schedules": "Nothing is scheduled here.",
    "peers.list": "This fleet has no other machine. Let one in: covey invite",
    "routes.certificates": "No host has a certificate.",
    "routes.list": "Nothing is served. Serve something: covey routes add NAME HOST --to ADDRESS",
    "token.list": "There is no token. Make one: covey token create NAME",
}
"""What people read in the place of an empty list, where there is something to do next."""

QUESTIONS: dict[str, str] = {
    "apps.keys.forget-host": "Forget the SSH key of {}, and take its next one unseen?",
    "apps.keys.remove": "Remove the key {} from every host of the fleet?",
    "apps.volumes.remove": "Remove a volume of {} with its data?",
    "apps.destroy": "Remove {} with its containers, images, routes and variables?",
    "fleet.leave": "Take this machine out of its fleet?",
    "fleet.remove": "Remove {} from the fleet for good?",
    "jobs.prune": "Remove jobs that have ended, with their logs?",
    "node.allow-writes": "Let this node write, though it may repeat numbers of lost entries?",
    "routes.remove": "Serve the hosts of the route {} no more?",
    "routes.remove-certificate": "Forget the certificate for {}?",
    "routes.stop": "End the proxy with all that it serves?",
    "token.revoke": "Revoke the token {}?",
    "webhooks.remove": "Remove the webhook {}?",
}
"""What people are asked before something is destroyed; `{}` is the target."""

GROUPS: dict[str, str] = {
    "apps": "Apps that this machine builds, runs and serves.",
    "webhooks": "What GitHub, GitLab, Gitea and Bitbucket deliver to this machine.",
    "apps domains": "The names at which an app answers.",
    "apps env": "An app's own variables.",
    "apps volumes": "The data that apps keep, also when they are gone.",
    "apps keys": "The keys that open repositories.",
    "agent": "The daemon in the background.",
    "audit": "Who did what, and when.",
    "config": "The settings of this machine.",
    "env": "Environment variables that follow you.",
    "exec": "Commands on any machine.",
    "files": "Files on any machine.",
    "fleet": "The machines of the fleet.",
    "jobs": "What takes long: deployments, builds, scheduled commands.",
    "node": "The node that runs here.",
    "peers": "The other machines, as this one sees them.",
    "routes": "What the proxy serves: the hosts of apps and of other servers.",
    "sync": "Exchange changes with the other machines.",
    "token": "Tokens for the HTTP interface.",
}
"""What each group of commands is about."""

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Start", ("init", "join", "up", "agent", "status", "doctor")),
    ("Variables", ("env", "get", "set", "delete", "list", "export", "run", "shell-init")),
    ("Machines", ("fleet", "invite", "peers", "sync", "recover")),
    ("Remote work", ("exec", "shell", "cp", "sync-dir", "files", "tunnel")),
    ("Apps", ("deploy", "apps", "routes", "jobs", "webhooks")),
    ("Access", ("token", "audit", "lock", "unlock")),
    ("This program", ("config", "completion", "ansible-plugins", "shutdown")),
)
"""The sections of `covey --help`; commands in none of them come under "More"."""

HIDDEN = frozenset({"node"})
"""Groups that `covey --help` leaves out, because their commands have shorter names."""

INNER = frozenset({"apps.git-refs", "tunnel.listen"})
"""Operations that are parts of a command, and none by themselves."""

NEVER_ASKED = frozenset({"env.unset", "node.shutdown"})
"""Operations that destroy, but nothing that cannot be had back: they are done unasked."""
