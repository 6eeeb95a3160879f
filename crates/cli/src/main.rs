//! The dhow command line.

fn main() {}
