"""Quorate: a failover cluster for QEMU/KVM whose contract is ClusAPI."""

__version__ = "0.1.0"
