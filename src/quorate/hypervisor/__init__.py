"""Drivers that run virtual machines behind one contract: qemu, fake; the definition of a VM and the built-in guest."""
