//! The integration tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, its helpers too")]

mod tidy;
