"""The face for programs that speak MS-CMRP: its methods, answered by the operations of this server."""
