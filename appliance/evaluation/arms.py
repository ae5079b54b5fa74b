"""Who answers eval rows: the base, a release, or an adapter that is none."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from adapters.registry import ADAPTER, Identity
from appliance.chat import Turn
from appliance.engine.engine import BASE_LANE
from appliance.serving import Serving
from appliance.store.releases import Release


@dataclass(frozen=True, slots=True)
class Arm:
    """Who answers: an adapter (None: the base), its system prompt, and turns before each question (few-shot).

    `digest` names all of it; `adapter` is the file.
    """

    name: str
    digest: str
    adapter: Path | None = None
    system_prompt: str = ""
    shots: tuple[Turn, ...] = ()

    @property
    def lane(self) -> str:
        """The key that the adapter is loaded under."""
        return self.digest if self.adapter else BASE_LANE


def adapter_arm(serving: Serving, name: str, adapter: Path, adapter_digest: str, system_prompt: str) -> Arm:
    """Of an adapter that is no release."""
    identity = Identity(adapter_digest, system_prompt, serving.template.digest, serving.base.digest)
    return Arm(name, identity.digest, adapter, system_prompt)


def base_arm(base_digest: str, system_prompt: str = "", shots: tuple[Turn, ...] = ()) -> Arm:
    """The base, bare or with a prompt."""
    digest = hashlib.sha256(json.dumps([base_digest, system_prompt, shots]).encode()).hexdigest()
    return Arm("base", digest, system_prompt=system_prompt, shots=shots)


def live_arm(serving: Serving, cohort: str) -> Arm | None:
    """The live release of a cohort, as the route table has it: nothing is read for it."""
    target = serving.releases.table.live.get(cohort)
    return _arm(serving, target.name, target.digest, serving.releases.system_prompt(target)) if target else None


def release_arm(serving: Serving, release: Release) -> Arm:
    return _arm(serving, release.name, release.digest, release.system_prompt)


def _arm(serving: Serving, name: str, digest: str, system_prompt: str) -> Arm:
    return Arm(name, digest, serving.releases.folder / digest / ADAPTER, system_prompt)
