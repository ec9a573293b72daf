"""Scenarios in which threads use, close and drop ports that other threads run.

Each scenario has a process of its own.

To run one by hand: PYTHONPATH=tests python -m stress SCENARIO BACKEND [ROUNDS]
"""
