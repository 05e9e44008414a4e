from __future__ import annotations

import pytest

from maseg_nnunet.errors import UsageError
from maseg_nnunet.serving.nodes import Caller, Node, ServerSettings


def test_nodes_and_callers_are_parsed_or_refused() -> None:
    assert Node.parse("ARCHIVE@10.0.0.5:104") == Node("ARCHIVE", "10.0.0.5", 104)
    assert Node.parse("A B@[::1]:104") == Node("A B", "::1", 104)
    for text in ("ARCHIVE", "ARCHIVE@host", "@host:104", "A@host:0", "A@host:x", "A@:104", "TOO_LONG_A_TITLE_X@h:1"):
        with pytest.raises(UsageError):
            Node.parse(text)
    assert Caller.parse("PACS") == Caller("PACS")
    assert Caller.parse("PACS@10.0.0.0/24").matches("PACS", "10.0.0.77")
    assert not Caller.parse("PACS@10.0.0.0/24").matches("PACS", "10.0.1.77")
    assert not Caller.parse("PACS@10.0.0.5").matches("PACS2", "10.0.0.5")
    assert Caller.parse("PACS@10.0.0.5").matches("PACS", "::ffff:10.0.0.5")
    for text in ("PACS@", "PACS@nowhere", "@10.0.0.1", "A\\B"):
        with pytest.raises(UsageError):
            Caller.parse(text)


def test_settings_that_would_let_anybody_in_are_refused() -> None:
    node = Node("A", "127.0.0.1", 1)
    with pytest.raises(UsageError, match="nobody"):
        ServerSettings((), node)
    with pytest.raises(UsageError, match="PACS@ADDRESS"):
        ServerSettings((Caller("PACS"),), node, host="0.0.0.0")
    assert ServerSettings((Caller("PACS"),), node).host == "127.0.0.1"
