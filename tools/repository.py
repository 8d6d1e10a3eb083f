"""Addresses of the book, all derived from `repository` in _config.yml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tools.files import read_settings


@dataclass(frozen=True)
class Repository:
    """Where the book's sources live."""

    url: str
    branch: str

    @property
    def slug(self) -> str:
        """`<org>/<repo>`."""
        return urlsplit(self.url).path.strip("/").removesuffix(".git")

    @property
    def site(self) -> str:
        """The published book, as GitHub Pages names it, with a slash at the end."""
        org, repo = self.slug.split("/")
        return f"https://{org.lower()}.github.io/{repo}/"

    def page(self, doc: str) -> str:
        """The published page of a document such as `chapters/memory`."""
        return f"{self.site}{doc}.html"

    def colab(self, doc: str) -> str:
        """What the Colab button of a chapter opens."""
        return f"https://colab.research.google.com/github/{self.slug}/blob/{self.branch}/{twin_path(doc)}"

    def blob(self, path: str) -> str:
        """A file of the repository, shown on GitHub."""
        return f"{self.url}/blob/{self.branch}/{path}"

    def raw(self, path: str) -> str:
        """A file of the repository as it is (for images)."""
        return f"https://raw.githubusercontent.com/{self.slug}/{self.branch}/{path}"


def twin_path(doc: str) -> str:
    """The notebook of a chapter, relative to the root."""
    return f"notebooks/{doc.rsplit('/', 1)[-1]}.ipynb"


def make_repository(url: Any, branch: Any) -> Repository:
    """Check the two settings; ValueError unless they name a GitHub repository and a branch."""
    url = str(url or "").rstrip("/").removesuffix(".git")
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.netloc != "github.com" or len(parts.path.strip("/").split("/")) != 2:
        raise ValueError(f"repository.url: expected https://github.com/<org>/<repo>, got {url!r}")
    if not branch:
        raise ValueError("repository.branch: expected a branch name, got nothing")
    return Repository(url, str(branch))


def read_repository(root: Path) -> Repository:
    """Read `repository` from the _config.yml in `root`."""
    settings = read_settings(root).get("repository") or {}
    return make_repository(settings.get("url"), settings.get("branch"))
