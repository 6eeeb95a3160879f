//! Embedded registry: OCI distribution-spec 1.1 over a layout directory or memory.
