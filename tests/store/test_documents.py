"""The documents of a run: written, overwritten and read back; what is not there yet says so."""

from __future__ import annotations

import pytest

from raybench.core.errors import RunError
from raybench.store.run_dir import RunDir


def test_documents_are_written_and_read(run: RunDir) -> None:
    documents = run.documents
    documents.write_state({"status": "running"})
    with pytest.raises(RunError, match="Is the run finished"):
        documents.read_results()
    documents.write_results({"results": []})
    documents.write_efficiency({"seconds": 1.5})

    assert documents.state() == {"status": "running"}
    assert documents.read_results() == {"results": []}
    assert documents.read_efficiency() == {"seconds": 1.5}
