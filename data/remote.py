"""Files behind a URL, such as s3://bucket/store or https://host/store: read through fsspec, never written.

Nothing is listed, since HTTP cannot: what there is has to be known, from a store's index. A file is fetched whole. One
whose digest is known is checked when it comes, and kept in a local cache.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.file_cache import FileCache, digest_of
from gnfactor.errors import ConfigError, DataError, MissingExtraError

if TYPE_CHECKING:
    from gnfactor.config import CacheConfig  # it brings torch, which reading demonstrations does without

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(::[A-Za-z0-9+.\-]+)*:/")
"""Beginning of a URL; with one slash, since `pathlib.Path` makes one of two."""
_CONNECTIONS = 16
_WAITS_S = (0.2, 1.0)
"""Before the second and third try."""
_PACKAGES = {
    **dict.fromkeys(("http", "https"), "aiohttp"),
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    "hf": "huggingface_hub",
    "oci": "ocifs",
}
"""What speaks a protocol, where fsspec itself does not."""


def is_url(address: Path | str) -> bool:
    """Whether an address is a URL, also after `pathlib.Path` has taken it for a path."""
    return _URL.match(str(address)) is not None


@dataclass(frozen=True)
class FetchedFiles:
    """Some files of a folder behind a URL, in memory."""

    url: str
    contents: Mapping[str, bytes]
    """By path in the folder."""

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class RemoteFolder:
    """A folder behind a URL."""

    url: str
    filesystem: Any = field(repr=False)
    """fsspec's."""
    root: str = field(repr=False)
    """What fsspec calls the folder."""
    cache: FileCache = field(repr=False)

    @classmethod
    def connect(cls, url: str, cache: CacheConfig | None) -> RemoteFolder:
        """The folder that a URL names; nothing is fetched yet. None takes the defaults of the cache.

        Raises:
            ConfigError: there is no such protocol.
            MissingExtraError: a package that speaks the protocol is not installed.
        """
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 (local stores do without)
        except ImportError as error:
            raise MissingExtraError("fsspec", "pip install 'gnfactor[train]'") from error
        url = url.rstrip("/")
        protocol = url.partition(":")[0]
        try:
            filesystem, root = url_to_fs(url)
        except ImportError as error:
            package = _PACKAGES.get(protocol)
            if package is None:
                raise ConfigError(f"{url} cannot be opened: {error}") from error
            raise MissingExtraError(package, f"pip install {package}") from error
        except ValueError as error:
            raise ConfigError(f"{url} cannot be opened: {error}; use s3://, gs://, https:// or a folder") from error
        return cls(url, filesystem, str(root).rstrip("/"), _open_cache(cache))

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemoteFolder:
        """A folder in this one."""
        return RemoteFolder(f"{self.url}/{name}", self.filesystem, f"{self.root}/{name}", self.cache)

    def read(self, name: str, digest: str | None = None) -> bytes:
        """A file; from the cache if its digest is given and it is there, else fetched.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: the connection is lost or refused, or what comes does not have the digest.
        """
        cached = None if digest is None else self.cache.get(digest)
        if cached is not None:
            return cached
        content = self._fetch(name)
        if digest is not None and digest_of(content) != digest:
            content = self._fetch(name)  # it may have been cut off on the way
            if digest_of(content) != digest:
                raise DataError(
                    f"{self.url}/{name} is not what the store's index says ({len(content)} bytes came): it was "
                    "damaged, or changed without the index; copy the store there again, the index last"
                )
        if digest is not None:
            self.cache.put(digest, content)
        return content

    def read_all(self, digests: Mapping[str, str]) -> FetchedFiles:
        """Files by name, several at the same time, each as `read` gives it; of each its digest is told."""
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            contents = pool.map(self.read, digests, digests.values())
            return FetchedFiles(self.url, dict(zip(digests, contents, strict=True)))

    def _fetch(self, name: str) -> bytes:
        """A file as it is there now."""
        address, waits = f"{self.root}/{name}", list(_WAITS_S)
        while True:
            try:
                return bytes(self.filesystem.cat_file(address))
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{self.url}/{name} is not there") from error
            except Exception as error:  # each protocol has errors of its own
                if not waits or isinstance(error, (PermissionError, TimeoutError)):
                    raise DataError(
                        f"cannot fetch {self.url}/{name} ({type(error).__name__}: {error}); check the connection, the "
                        "address and your rights there, and run the same command again: what was fetched is kept in "
                        f"{self.cache.folder}"
                    ) from error
                time.sleep(waits.pop(0))


def below(files: Mapping[str, str], folders: Sequence[str]) -> dict[str, str]:
    """Those files that lie in one of the folders, at any depth."""
    return {name: digest for name, digest in files.items() if any(name.startswith(f"{one}/") for one in folders)}


def _open_cache(config: CacheConfig | None) -> FileCache:
    """The cache that is configured; its usual place is the user's cache folder (XDG base directories)."""
    from gnfactor.config import CacheConfig  # noqa: PLC0415 (see above)

    config = CacheConfig() if config is None else config
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gnfactor" / "stores"
    folder = usual if config.folder is None else Path(config.folder).expanduser()
    return FileCache(folder, int(config.gigabytes * 1e9))
