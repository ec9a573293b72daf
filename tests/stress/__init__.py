"""Scenarios in which threads use, close and drop what other threads run; each has its own process.

By hand: PYTHONPATH=tests python -m stress SCENARIO BACKEND [ROUNDS]
"""
