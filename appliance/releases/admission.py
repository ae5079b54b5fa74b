"""From an adapter's file to a release whose files are in place, which the register does not know yet."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adapters import registry
from adapters.inspect import AdapterFacts
from adapters.registry import Identity
from appliance.base import PreparedBase
from appliance.config import Config
from appliance.errors import StoreUnavailable
from appliance.releases import adapter_check
from appliance.store import timestamps
from appliance.store.releases import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What is known of an adapter that was trained here. `files` are kept beside it; `facts` go into its manifest."""

    files: tuple[Path, ...]
    parent: str | None
    gated: bool
    facts: Mapping[str, Any]


class Admission:
    """Of one home. `folder` holds the releases."""

    def __init__(self, config: Config, folder: Path, base: PreparedBase, template_digest: str) -> None:
        self._config, self._folder, self._base, self._template_digest = config, folder, base, template_digest
        # Each trial takes a worker thread, which requests need too, and memory for the base once more.
        self._lock = asyncio.Lock()

    async def admit(self, path: Path, cohort: str, made: Made | None = None) -> Release:
        """Check the adapter and keep it. Raises InvalidRequest when it is refused, StoreUnavailable."""
        async with self._lock:
            with tempfile.TemporaryDirectory(prefix=registry.STAGING, dir=self._folder) as scratch:
                copy = Path(scratch) / registry.ADAPTER
                facts = await asyncio.to_thread(adapter_check.check, path, copy, self._base)
                source = {"source": str(path)} if made is None else made.facts
                release = await asyncio.to_thread(self._describe, copy, facts, cohort, source)
                if made is not None:
                    release = replace(release, parent=made.parent, gated=made.gated)
                    release.manifest.update(parent=made.parent, gated=made.gated)
                await asyncio.to_thread(self._keep, copy, release, made.files if made else ())
                return release

    def _describe(self, adapter: Path, facts: AdapterFacts, cohort: str, origin: Mapping[str, Any]) -> Release:
        section = self._config.cohorts[cohort]
        digest = registry.file_digest(adapter)
        identity = Identity(digest, section.system_prompt or "", self._template_digest, self._base.digest)
        manifest: dict[str, Any] = {
            **asdict(identity),
            "cohort": cohort,
            "owner": section.owner,
            **origin,
            "rank": facts.rank,
            "modules": facts.modules,
            "passport": facts.passport,
            "gated": False,
        }
        return Release(
            digest=identity.digest,
            cohort=cohort,
            state="candidate",
            created=timestamps.now(),
            gated=False,
            manifest=manifest,
            **asdict(identity),
        )

    def _keep(self, adapter: Path, release: Release, beside: tuple[Path, ...]) -> None:
        try:
            registry.write(self._folder, adapter, release.digest, release.manifest, beside)
        except OSError as error:
            raise StoreUnavailable(
                f"the release cannot be stored: {error.strerror}; free space, try again"
            ) from error
