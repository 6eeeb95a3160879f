//! Project automation: demo, test, tidy, docs.

fn main() {}
