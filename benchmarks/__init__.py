"""What ref_proxy costs, measured: `python -m benchmarks.core` runs it all, `docs/performance.md` says what came out."""
