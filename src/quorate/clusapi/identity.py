"""What things are called inside: ids, never names.

A node's id is a small decimal number as text ("1" to "64" and beyond) that is never given twice; everything else has a
GUID as text, in lower case, without braces. Names belong to people and may change; ids appear in keys, file names,
sockets and messages.
"""

from typing import NewType

NodeId = NewType("NodeId", str)
GroupId = NewType("GroupId", str)
ResourceId = NewType("ResourceId", str)
VmId = NewType("VmId", str)
"""The GUID of a virtual machine: the guest sees it as its SMBIOS UUID."""
GroupSetId = NewType("GroupSetId", str)
NetworkId = NewType("NetworkId", str)
NetworkInterfaceId = NewType("NetworkInterfaceId", str)
ImageId = NewType("ImageId", str)
"""One memory image of a VM: running, paused, loaded at a destination, or saved in a file."""
SessionId = NewType("SessionId", str)
"""One migration; a message of another session is nothing (rule R3)."""
