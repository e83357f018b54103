"""[MS-CMRP] 3.0, ClusAPI's own wire protocol: every call with its number, its inputs and its outputs, for both ends."""
