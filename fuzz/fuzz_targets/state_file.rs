#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keypool::fuzzing::state_file(bytes));
