"""What admins configure: bundles, activation, who holds what. Stands on everything below and is used by the screens."""
