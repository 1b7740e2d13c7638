"""The engine that tunes with Katib, trains with a TFJob and serves with KServe."""
