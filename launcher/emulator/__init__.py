"""Huawei Cloud on the loopback: servers that speak its protocols and keep everything in folders."""
