"""What `info` says of a folder that it does not describe."""

from pathlib import Path

import pytest

from pragmatiq_builder.info import describe
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.model_folders import what_else


def test_info_of_raw_data_names_the_command_that_describes_it(tmp_path: Path) -> None:
    (tmp_path / "events.parquet").touch()
    with pytest.raises(ArtifactError, match="this is raw data, which `pragmatiq validate` describes") as error:
        describe(tmp_path)
    assert what_else(tmp_path) in str(error.value), "as every other command tells it"
