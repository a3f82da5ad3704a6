"""kvmgen: GitOps for plain KVM hosts: an inventory in, the exact files of every host out."""

__version__ = "0.1.0"
