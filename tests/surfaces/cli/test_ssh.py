"""SSH addresses, and commands as lines for a login shell."""

from __future__ import annotations

import subprocess

import pytest

from covey.errors import InvalidRequestError
from covey.surfaces.cli.light.exec_call import ExecCall
from covey.surfaces.cli.ssh import SshAddress, line_of, parse_address


@pytest.mark.parametrize(
    "text, address",
    [
        ("frigg", SshAddress("frigg")),
        ("root@frigg.lan:2222", SshAddress("frigg.lan", "root", 2222)),
        ("[fd00::1]:22", SshAddress("fd00::1", None, 22)),
        ("ssh://deploy@10.0.0.7/", SshAddress("10.0.0.7", "deploy")),
    ],
)
def test_an_address_is_read(text: str, address: SshAddress):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=x", "a b", "root@-x", "frigg:0", "frigg:70000", "-l@frigg"]
)
def test_what_ssh_could_take_for_an_option_is_refused(text: str):
    with pytest.raises(InvalidRequestError):
        parse_address(text)


def ran(wanted: ExecCall) -> str:
    done = subprocess.run(["sh", "-c", line_of(wanted)], capture_output=True, text=True, check=True)
    return done.stdout


def test_words_arrive_as_they_are():
    wanted = ExecCall(["printf", "%s|", "a b", "$HOME", "'", "", "*", "-x"])
    assert ran(wanted) == "a b|$HOME|'||*|-x|"


def test_directory_variables_and_time_limit_are_kept():
    wanted = ExecCall(["sh", "-c", 'echo "$PWD $A"'])
    wanted.cwd, wanted.env, wanted.timeout = "/", ["A=x y"], 5
    assert ran(wanted) == "/ x y\n"
    wanted = ExecCall(["echo", "$A", "|", "tr", "x", "z"])
    wanted.shell, wanted.env = True, ["A=x"]
    assert ran(wanted) == "z\n"


def test_the_fleets_variables_are_not_sent():
    wanted = ExecCall(["env"])
    wanted.env = ["TOKEN"]
    with pytest.raises(InvalidRequestError, match="not sent by SSH"):
        line_of(wanted)
