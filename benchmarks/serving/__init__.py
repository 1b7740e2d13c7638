"""The servers, and what measures them."""
