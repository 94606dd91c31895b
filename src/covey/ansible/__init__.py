"""What Ansible loads by its path, not as a part of this package: see `covey ansible-plugins`."""
