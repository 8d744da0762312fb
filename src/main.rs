//! The `keypool` binary.

fn main() {}
