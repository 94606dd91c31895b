"""Real Ansible over the mesh: a playbook with command, copy and fetch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.system.harness import COVEY, Fleet, Node, eventually
from tests.system.test_exec import reaches

PLAYBOOK = """
- hosts: all
  gather_facts: true
  tasks:
    - name: run a command
      ansible.builtin.command: sh -c 'echo "from $0"; exit 0' {{ ansible_facts.hostname }}
      register: said
      changed_when: false
    - name: check what it said
      ansible.builtin.assert:
        that: said.stdout == "from " ~ ansible_facts.hostname
    - name: send a file
      ansible.builtin.copy:
        src: source
        dest: "{{ place }}/{{ inventory_hostname }}"
        mode: "0640"
    - name: get a file
      ansible.builtin.fetch:
        src: "{{ place }}/{{ inventory_hostname }}"
        dest: "{{ place }}/fetched-{{ inventory_hostname }}"
        flat: true
"""


def playbook(node: Node, directory: Path, *hosts: str) -> subprocess.CompletedProcess[str]:
    (directory / "play.yaml").write_text(PLAYBOOK)
    (directory / "hosts.ini").write_text("".join(f"{host}\n" for host in hosts))
    environment = node.environment | {
        "PATH": f"{Path(COVEY).parent}:{os.environ['PATH']}",
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONNECTION_PLUGINS": node.out("ansible-plugins"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    options = ["-i", "hosts.ini", "-c", "covey", "-e", f"place={directory}"]
    options += ["-e", f"ansible_python_interpreter={sys.executable}"]
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), *options, "play.yaml"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_a_playbook_runs_over_the_mesh(fleet: Fleet, tmp_path: Path) -> None:
    freya = fleet.founder("freya")
    fleet.member(freya, "frigg")
    eventually(lambda: reaches(freya, "frigg"))
    content = os.urandom(200_000)
    (tmp_path / "source").write_bytes(content)
    done = playbook(freya, tmp_path, "freya", "frigg")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("freya", "frigg"):
        assert (tmp_path / name).read_bytes() == content
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o640
        assert (tmp_path / f"fetched-{name}").read_bytes() == content
    calls = [item for item in freya.json("audit", "-H", "frigg") if item["operation"] == "exec.run"]
    assert any("via freya" in item["caller"] for item in calls)


def test_a_machine_that_is_away_is_unreachable_to_ansible(fleet: Fleet, tmp_path: Path) -> None:
    freya = fleet.founder("freya")
    frigg = fleet.member(freya, "frigg")
    frigg.stop()
    (tmp_path / "source").touch()
    done = playbook(freya, tmp_path, "frigg")
    assert done.returncode == 4
    assert "UNREACHABLE!" in done.stdout
