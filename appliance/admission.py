"""From an adapter's file to a release whose files are in place, which the register does not know yet."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adapters import registry
from adapters.inspect import AdapterFacts
from adapters.registry import Identity
from appliance import adapter_check
from appliance.base import PreparedBase
from appliance.config import Config
from appliance.errors import StoreUnavailable
from appliance.store import timestamps
from appliance.store.releases import Release


class Admission:
    """Of one home. `folder` holds the releases."""

    def __init__(self, config: Config, folder: Path, base: PreparedBase, template_digest: str) -> None:
        self._config, self._folder, self._base, self._template_digest = config, folder, base, template_digest
        # Each trial takes a worker thread, which requests need too, and memory for the base once more.
        self._one_at_a_time = asyncio.Lock()

    async def admit(self, path: Path, cohort: str) -> Release:
        """Check the adapter and keep it. Raises InvalidRequest when it is refused, StoreUnavailable."""
        async with self._one_at_a_time:
            with tempfile.TemporaryDirectory(prefix=registry.STAGING, dir=self._folder) as scratch:
                copy = Path(scratch) / registry.ADAPTER
                facts = await asyncio.to_thread(adapter_check.check, path, copy, self._base)
                release = await asyncio.to_thread(self._describe, copy, facts, cohort, path)
                await asyncio.to_thread(self._keep, copy, release)
                return release

    def _describe(self, adapter: Path, facts: AdapterFacts, cohort: str, source: Path) -> Release:
        section = self._config.cohorts[cohort]
        digest = registry.file_digest(adapter)
        identity = Identity(digest, section.system_prompt or "", self._template_digest, self._base.digest)
        manifest: dict[str, Any] = {
            **asdict(identity),
            "cohort": cohort,
            "owner": section.owner,
            "source": str(source),
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

    def _keep(self, adapter: Path, release: Release) -> None:
        try:
            registry.write(self._folder, adapter, release.digest, release.manifest)
        except OSError as error:
            raise StoreUnavailable(
                f"the release cannot be stored: {error.strerror}; free space, try again"
            ) from error
