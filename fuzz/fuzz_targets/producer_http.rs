#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| producer_svc::fuzz::http(data));
