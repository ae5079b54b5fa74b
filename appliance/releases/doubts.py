"""What a person should know of a release before it goes live, or while it answers. Pure but for the day."""

from __future__ import annotations

from appliance.store import timestamps
from appliance.store.releases import Release


def stale_prompt(release: Release, configured: str) -> str | None:
    """The configured system prompt is not the live release's: editing it releases nothing."""
    if release.state != "live" or configured == release.system_prompt:
        return None
    name = release.name
    return f"the configured system prompt differs from the one {name} answers with: add a release to change it"


def other_weights(release: Release, served: str) -> str | None:
    """What a gate passed answered on the base's weights of another format than those `served` (a digest)."""
    judged = release.manifest.get("passport_given", {}).get("format", served)
    if not release.gated or judged == served:
        return None
    cohort = release.cohort
    first = f"cohort eval {cohort} judges it on these, and " if release.state == "live" else ""
    return (
        f"{release.name} was judged on another weight format of the base ({judged[:12]}, served is {served[:12]}): "
        f"{first}cohort retrain {cohort} makes one for these"
    )


def overdue(release: Release) -> str | None:
    """A live release is past the day until which its gate's verdict is to be trusted."""
    due = release.manifest.get("revalidate")
    if release.state != "live" or due is None or timestamps.now() < due:
        return None
    cohort = release.cohort
    return (
        f"{release.name} was to be judged anew by {due[:10]}: see cohort eval {cohort}, then cohort retrain {cohort}"
    )
