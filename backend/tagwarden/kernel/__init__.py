"""What every room stands on; knows nothing of tags, customers or WeCom."""
