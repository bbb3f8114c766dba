"""Customers and who follows them, as WeCom tells it. Phone numbers are not kept."""
