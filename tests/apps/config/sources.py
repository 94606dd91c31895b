"""Small sources of each kind, as paths and texts."""

from __future__ import annotations

import json
from pathlib import Path

from covey.apps.config.tree import SourceTree, wanted_texts

MANAGE = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
FLASK = "from flask import Flask\n\napp = Flask(__name__)\n"
FASTAPI = "from fastapi import FastAPI\n\napi: FastAPI = FastAPI(title='x')\n"
PROJECT = '[project]\nname = "shop"\nversion = "1"\n'


def package(**fields: object) -> str:
    return json.dumps({"name": "shop", **fields})


SOURCES: dict[str, dict[str, str]] = {
    "python-flask": {"requirements.txt": "flask>=3\n", "app.py": FLASK},
    "python-flask-factory": {
        "requirements.txt": "Flask\ngunicorn\npsycopg2\n",
        "src/shop/__init__.py": "def create_app():\n    return None\n",
    },
    "python-django-uv": {
        "pyproject.toml": PROJECT
        + 'requires-python = ">=3.11,<3.13"\ndependencies = ["django>=5", "gunicorn"]\n',
        "uv.lock": "version = 1\n",
        "manage.py": MANAGE,
        "shop/wsgi.py": "",
        "shop/settings.py": "",
    },
    "python-fastapi-poetry": {
        "pyproject.toml": '[tool.poetry]\nname = "shop"\n[tool.poetry.dependencies]\n'
        'python = "^3.12"\nfastapi = "*"\n',
        "poetry.lock": "",
        "shop/main.py": FASTAPI,
    },
    "python-pyproject-package": {
        "pyproject.toml": '[build-system]\nrequires = ["hatchling"]\n\n'
        + PROJECT
        + 'dependencies = ["fastapi[standard]"]\n[project.scripts]\nserve = "shop:main"\n',
        "shop/main.py": "def main():\n    pass\n",
    },
    "python-pipenv-procfile": {
        "Pipfile": '[packages]\nflask = "*"\n',
        "Pipfile.lock": "{}",
        "Procfile": "web: gunicorn shop:app\nworker: python work.py\nrelease: flask db upgrade\n",
        "runtime.txt": "python-3.12.4\n",
    },
    "python-plain": {"main.py": "print('hello')\n"},
    "node-npm-start": {
        "package.json": package(scripts={"start": "node server.js"}, engines={"node": ">=20"}),
        "package-lock.json": "{}",
        "server.js": "",
    },
    "node-pnpm-next": {
        "package.json": package(
            scripts={"build": "next build", "start": "next start", "dev": "next dev"},
            dependencies={"next": "15"},
            packageManager="pnpm@9.15.0",
        ),
        "pnpm-lock.yaml": "",
    },
    "node-yarn-berry": {
        "package.json": package(scripts={"start": "NODE_ENV=production node ."}),
        "yarn.lock": "__metadata:\n  version: 8\n",
        ".yarnrc.yml": "",
        ".nvmrc": "v20\n",
    },
    "node-workspaces": {
        "package.json": package(workspaces=["apps/*"], main="apps/web/server.js"),
        "package-lock.json": "{}",
        "apps/web/server.js": "",
    },
    "site-vite": {
        "package.json": package(
            scripts={"dev": "vite", "build": "vite build"}, devDependencies={"vite": "8"}
        ),
        "package-lock.json": "{}",
        "index.html": "",
    },
    "go-root": {
        "go.mod": "module example.org/shop/v2\n\ngo 1.24\n",
        "go.sum": "",
        "main.go": "package main\n",
    },
    "go-commands": {
        "go.mod": "module example.org/shop\n",
        "cmd/server/main.go": "package main\n",
        "cmd/worker/main.go": "package main\n",
    },
}


def tree(files: dict[str, str]) -> SourceTree:
    names = frozenset(files)
    return SourceTree(names, {name: files[name] for name in wanted_texts(names)})


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return root
