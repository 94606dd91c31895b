"""Which files an ignore file leaves out, as Docker's own tests have it."""

from __future__ import annotations

import pytest

from covey.ignore_files.dockerignore import DockerIgnore


@pytest.mark.parametrize(
    "patterns, path, out",
    [
        ("**", "file", True),
        ("**/", "file", True),
        ("**", "dir/file", True),
        ("**/*", "dir/file", True),
        ("**/**", "dir/file", True),
        ("dir/**", "file", False),
        ("dir/**", "dir/file", True),
        ("dir/**", "dir/dir2/file", True),
        ("**/dir2/*", "dir/dir2/file", True),
        ("**file", "file", True),
        ("**file", "dir/file", True),
        ("**/file", "file", True),
        ("**/file*txt", "dir/dir/file.txt", True),
        ("a**", "a/b.txt", True),
        ("a**b", "ab", True),
        ("a**b", "axb", False),
        ("a**b", "ax/b", True),
        ("a[b-d]e", "ae", False),
        ("a[b-d]e", "ace", True),
        ("a[^b-d]e", "aze", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("abc.def", "abcZdef", False),
        ("*", "dir/deep/file", True),
        ("*/file", "dir/file", True),
        ("*/file", "file", False),
        ("/top", "top/below", True),
        ("dir/", "dir/file", True),
        ("./dir", "dir/file", True),
        ("# dir", "# dir", False),
        ("*\n!keep", "keep", False),
        ("*\n!keep", "other", True),
        ("dir\n!dir/keep", "dir/keep", False),
        ("dir\n!dir/keep", "dir/other", True),
        ("*.md\n!README*.md\nREADME-secret.md", "README.md", False),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
        ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
        ("docs/**/*.txt\n!docs/a/b.txt", "docs/a/b.txt", False),
        ("?ile", "file", True),
        ("!", "file", False),
        ("[", "[", True),
        (".", "file", False),
        ("a\x0bb", "a", False),
        ("a\rb\n", "a\rb", True),
        ("dir\r\nother\r\n", "dir", True),
        ("a]b", "a]b", True),
        ("[!a]", "b", False),
        ("[!a]", "a", True),
    ],
)
def test_matches_as_docker_does(patterns: str, path: str, out: bool):
    assert DockerIgnore(patterns).leaves_out(path) is out
