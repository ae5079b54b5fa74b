from __future__ import annotations

from pathlib import Path

import pytest

from appliance.store import mounts
from appliance.store.mounts import filesystem, network_filesystem

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:36 / /mnt/with\\040space rw,relatime shared:20 master:1 - nfs4 server:/export rw,vers=4.2
41 22 0:37 / /mnt/sshfs rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("device", "kind"), [("254:0", "ext4"), ("0:36", "nfs4"), ("0:37", "fuse.sshfs"), ("0:3", None)]
)
def test_the_filesystem_of_a_device(device: str, kind: str | None) -> None:
    assert filesystem(device, MOUNTINFO) == kind


def test_a_local_folder_is_not_on_the_network(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path) is None


@pytest.mark.parametrize(("kind", "told"), [("nfs4", "nfs4"), ("fuse.sshfs", "fuse.sshfs"), ("ext4", None)])
def test_a_network_filesystem_is_named(
    kind: str, told: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mounts, "filesystem", lambda *_: kind)
    assert network_filesystem(tmp_path) == told
