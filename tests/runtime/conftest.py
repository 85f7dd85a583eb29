from pathlib import Path

import pytest

from torture.rig import Golden, stub_model


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of five nodes whose output shows wrong bytes."""
    return stub_model(tmp_path_factory.mktemp("stub") / "stub.onnx")


@pytest.fixture(scope="session")
def golden(stub: Path) -> Golden:
    """SHA-256 of what the stub makes of a file's bytes."""
    return Golden(stub)
