"""Run directories and storages in memory keep to the same contracts."""

from __future__ import annotations

import pytest

from raggrid.store.files import Files
from raggrid.store.storage import MemoryStorage, Storage
from tests.store.files_contract import FilesContract
from tests.store.memory_files import MemoryFiles
from tests.store.run_directory_contract import RunDirectoryContract
from tests.store.storage_contract import StorageContract


class TestMemoryFiles(FilesContract):
    @pytest.fixture
    def files(self) -> Files:  # type: ignore[override]
        return MemoryFiles()


class TestRunDirectoryInMemory(RunDirectoryContract):
    @pytest.fixture
    def files(self) -> Files:  # type: ignore[override]
        return MemoryFiles()


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:  # type: ignore[override]
        return MemoryStorage()
