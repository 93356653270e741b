//! restart-check: workload, faults, recorder, read-back, shrinker, report.
