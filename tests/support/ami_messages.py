"""AMI messages as a client has them, from headers as a test writes them."""

from collections.abc import Iterable

from vochi_agent.protocols.ami import AmiReader, Message, encode_message

__all__ = ["message"]


def message(headers: Iterable[tuple[str, str]]) -> Message:
    """What is read when a PBX sends this."""
    (found,) = AmiReader().receive_data(encode_message(headers))
    return found
