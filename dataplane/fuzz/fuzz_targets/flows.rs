#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| wirelane_fuzz_targets::flows(data));
