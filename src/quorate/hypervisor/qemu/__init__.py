"""The QEMU driver: one QEMU process per VM, in a session of its own, spoken to over QMP."""
