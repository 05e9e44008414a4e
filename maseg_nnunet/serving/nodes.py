"""DICOM nodes: who may send, where results go, and the address the server listens on."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from maseg_nnunet.errors import UsageError

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Node:
    """A DICOM node to send to.

    Attributes:
        ae_title: Its AE title, the called AE title of our associations.
        host: Its host name or IP address.
        port: Its TCP port.
    """

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Node:
        """A node from text such as `ARCHIVE@10.0.0.5:104`.

        Raises:
            UsageError: `text` has another form.
        """
        title, at, address = text.partition("@")
        host, colon, port = address.rpartition(":")
        if not (at and colon and host and port.isdecimal() and 0 < int(port) < 65536):
            raise UsageError(f"{text} is not a DICOM node: write AE_TITLE@HOST:PORT")
        return cls(_ae_title(title), host.strip("[]"), int(port))


@dataclass(frozen=True)
class Caller:
    """A DICOM node that may send to us.

    Attributes:
        ae_title: Its AE title, the calling AE title of its associations.
        network: The addresses it may call from; None if it may call from any address.
    """

    ae_title: str
    network: IPv4Network | IPv6Network | None = None

    @classmethod
    def parse(cls, text: str) -> Caller:
        """A caller from text such as `PACS`, `PACS@10.0.0.5` or `PACS@10.0.0.0/24`.

        Raises:
            UsageError: `text` has another form.
        """
        title, at, address = text.partition("@")
        try:
            return cls(_ae_title(title), ip_network(address) if at else None)
        except ValueError as error:
            raise UsageError(
                f"{text} is not a caller: write AE_TITLE@ADDRESS, or a network such as 10.0.0.0/24"
            ) from error

    def matches(self, ae_title: str, address: str) -> bool:
        """Whether a peer with this AE title and IP address is this caller."""
        return ae_title == self.ae_title and self.may_be_at(address)

    def may_be_at(self, address: str) -> bool:
        """Whether this caller may call from this IP address."""
        found = ip_address(address.partition("%")[0])
        if isinstance(found, IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return self.network is None or found in self.network


@dataclass(frozen=True)
class ServerSettings:
    """Where a server listens, whom it lets in and where it sends results.

    Attributes:
        callers: The nodes that may send, at least one.
        destination: The node that results are sent to.
        ae_title: The server's own AE title.
        host: The address to listen on.
        port: The TCP port to listen on; 0 for any free port.

    Raises:
        UsageError: There is no caller, or a caller may call from any address and `host` is not this machine alone.
    """

    callers: tuple[Caller, ...]
    destination: Node
    ae_title: str = "MASEG"
    host: str = "127.0.0.1"
    port: int = 11112

    def __post_init__(self) -> None:
        _ae_title(self.ae_title)
        if not self.callers:
            raise UsageError("nobody may send: name at least one --caller AE_TITLE@ADDRESS")
        if self.host not in _LOOPBACK:
            for caller in self.callers:
                if caller.network is None:
                    raise UsageError(
                        f"--host {self.host} can be reached from other machines: say where {caller.ae_title} may call "
                        f"from, as {caller.ae_title}@ADDRESS"
                    )


def _ae_title(text: str) -> str:
    """`text` as an AE title (PS3.5 section 6.2): 1 to 16 printable ASCII characters without a backslash."""
    title = text.strip()
    if not (0 < len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title):
        raise UsageError(f"{text!r} is not an AE title: 1 to 16 ASCII characters without a backslash")
    return title
