//! The verbs as typed functions: copy, inspect, list tags, delete, serve.
