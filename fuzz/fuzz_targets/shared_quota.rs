#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keypool::fuzzing::shared_quota(bytes));
