//! vfio-early: gives PCI devices to vfio-pci before any other driver can have them.
