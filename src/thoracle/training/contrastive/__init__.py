"""Pretrain on pairs of volumes and reports."""
