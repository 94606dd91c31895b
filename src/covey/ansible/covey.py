"""Ansible's connection plugin `covey`: playbooks over the mesh, by the `covey` command."""

from __future__ import annotations

import os
import selectors
import shlex
import subprocess
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: covey
short_description: run tasks on the machines of a Covey fleet
description:
  - Runs tasks by C(covey exec) on the machine that has the host's name in the fleet.
  - There is nothing to set up on it beside the agent; SSH stands in where that is away.
options:
  remote_addr:
    description: The machine's name in the fleet.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: ansible_covey_host
  remote_user:
    description: The user of the machine that tasks run as; by default the agent's own.
    type: str
    vars:
      - name: ansible_user
      - name: ansible_covey_user
    ini:
      - section: defaults
        key: remote_user
    env:
      - name: ANSIBLE_REMOTE_USER
    keyword:
      - name: remote_user
  executable:
    description: The covey command.
    type: str
    default: covey
    vars:
      - name: ansible_covey_executable
    env:
      - name: ANSIBLE_COVEY_EXECUTABLE
"""

_CHUNK = 256 << 10
_UNREACHABLE = 6
_PUT = 'umask 077 && cat > "$1"'


class Connection(ConnectionBase):  # type: ignore[misc]  # Ansible has no types
    """One machine; each task is one call over the link that the daemon keeps warm."""

    transport = "covey"
    has_pipelining = True

    def _connect(self) -> Connection:
        """Do nothing: the daemon is connected already."""
        self._connected = True
        return self

    def exec_command(
        self,
        cmd: str,
        in_data: bytes | None = None,
        sudoable: bool = True,  # noqa: FBT001, FBT002 - Ansible's signature
    ) -> tuple[int, bytes, bytes]:
        """Run a shell line, and return its status and both outputs."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(["sh", "-c", cmd], in_data, sudoable=sudoable)

    def put_file(self, in_path: str, out_path: str) -> None:
        """Send a file."""
        super().put_file(in_path, out_path)
        if not os.path.exists(to_bytes(in_path)):  # noqa: PTH110 - a path of any bytes
            raise AnsibleFileNotFound(f"{in_path} does not exist")
        with open(to_bytes(in_path), "rb") as file:  # noqa: PTH123 - as above
            self._transfer(["sh", "-c", _PUT, "-", out_path], stdin=file)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Get a file."""
        super().fetch_file(in_path, out_path)
        with open(to_bytes(out_path), "wb") as file:  # noqa: PTH123 - as above
            self._transfer(["cat", "--", in_path], stdout=file)

    def close(self) -> None:
        """Do nothing: the daemon keeps the link."""
        self._connected = False

    def _command(self, words: list[str]) -> list[bytes]:
        command = [*shlex.split(self.get_option("executable")), "exec", "--quiet"]
        command += ["-H", self.get_option("remote_addr")]
        user = self.get_option("remote_user")
        if user:
            command += ["--user", user]
        return [to_bytes(word, errors="surrogate_or_strict") for word in [*command, "--", *words]]

    def _transfer(self, words: list[str], **streams: Any) -> None:
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams}
        done = subprocess.run(self._command(words), stderr=subprocess.PIPE, check=False, **given)
        if done.returncode != 0:
            self._check_reached(done.returncode, done.stderr)
            raise AnsibleError(f"the file was not transferred: {to_text(done.stderr).strip()}")

    def _run(
        self, words: list[str], in_data: bytes | None, *, sudoable: bool
    ) -> tuple[int, bytes, bytes]:
        with subprocess.Popen(
            self._command(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            before = b"", b""
            if sudoable and self.become is not None and self.become.expect_prompt():
                before = self._give_password(process)
            stdout, stderr = process.communicate(in_data)
        stdout, stderr = before[0] + stdout, before[1] + stderr
        self._check_reached(process.returncode, stderr)
        return process.returncode, stdout, stderr

    def _give_password(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """Answer the prompt of sudo and its like; returns what was read for it."""
        parts = [b"", b""]
        streams = [item for item in (process.stdout, process.stderr) if item is not None]
        with selectors.DefaultSelector() as selector:
            for number, stream in enumerate(streams):
                selector.register(stream, selectors.EVENT_READ, number)
            while True:
                for key, _ in selector.select():
                    data = os.read(key.fd, _CHUNK)
                    if not data:
                        return parts[0], parts[1]
                    parts[key.data] += data
                for part in parts:
                    if self.become.check_success(part):
                        return parts[0], parts[1]
                    if self.become.check_password_prompt(part):
                        password = self.become.get_option(
                            "become_pass", playcontext=self._play_context
                        )
                        if process.stdin is not None:
                            process.stdin.write(to_bytes(password or "") + b"\n")
                            process.stdin.flush()
                        return b"", b""

    def _check_reached(self, status: int, stderr: bytes) -> None:
        """Tell Ansible of a machine that is not there, apart from a task that failed."""
        if status == _UNREACHABLE and stderr.startswith(b"error: "):
            raise AnsibleConnectionFailure(to_text(stderr).strip())
