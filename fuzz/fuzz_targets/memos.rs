#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tracing_bizproc::fuzzing::memos(data));
