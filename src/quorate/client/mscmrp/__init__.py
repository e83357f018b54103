"""The transport over MS-CMRP: the operations of the table carried out by ClusAPI's own wire calls.

It reaches any server of the protocol, which may know nothing of what is ours: an operation that has no call is put
together from those that there are, or answered with 120, "not implemented", and the reason.
"""
