"""Runs a study on Ray: cluster, searcher, scheduler, trials. No other room imports Ray."""
