"""What `info` says of a folder that it does not describe."""

from pathlib import Path

import pytest

from builder.info import describe
from pragmatiq_triton.errors import ArtifactError


def test_info_of_raw_data_names_the_command_that_describes_it(tmp_path: Path) -> None:
    (tmp_path / "events.parquet").touch()
    with pytest.raises(ArtifactError, match="`pragmatiq validate` describes raw data"):
        describe(tmp_path)
