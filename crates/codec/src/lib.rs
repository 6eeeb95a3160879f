//! Byte pipelines: verification, compression detection, decoding and encoding.
