#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| notifier_svc::fuzz::http(data));
