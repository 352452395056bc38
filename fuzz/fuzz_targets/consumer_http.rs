#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| consumer_svc::fuzz::http(data));
