"""Whether a folder lies on another machine."""

from __future__ import annotations

import os
from pathlib import Path

# SQLite's WAL needs memory shared by all who have the file open, and locks that hold: these give neither.
_NETWORK = {"afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3"}


def network_filesystem(folder: Path) -> str | None:
    """The kind of network filesystem that `folder` is on; None when local or unknown."""
    device = folder.stat().st_dev
    kind = filesystem(f"{os.major(device)}:{os.minor(device)}", Path("/proc/self/mountinfo").read_text())
    return kind if kind in _NETWORK else None


def filesystem(device: str, mountinfo: str) -> str | None:
    """The type of the filesystem `device` ("major:minor") in the text of /proc/self/mountinfo (man 5 proc)."""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == device:
            return source.split()[0]
    return None
