"""The daemon on a load balancer: one loop that reconciles, looks, decides, journals, acts and verifies."""
