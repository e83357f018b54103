"""The resource types that come with the cluster: the two of a virtual machine, "Network Name" and "Generic Script"."""
