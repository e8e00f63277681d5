"""Delivers a pruned model to other programs: files, formats of deployment, sparse layers."""
