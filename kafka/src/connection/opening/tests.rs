use super::*;

#[test]
fn a_connection_is_replaced_in_the_last_part_of_its_session() {
    let sent = Instant::now();
    for _ in 0..100 {
        let at = renewal(sent, 10_000).unwrap() - sent;
        assert!(
            (Duration::from_millis(8_500)..=Duration::from_millis(9_500)).contains(&at),
            "{at:?}"
        );
    }
    assert_eq!(renewal(sent, 0), None, "no end");
    assert_eq!(renewal(sent, -1), None);
    assert!(renewal(sent, i64::MAX).unwrap() <= sent + LONGEST_SESSION);
}

#[test]
fn tls_is_told_from_a_size() {
    // A fatal alert (internal_error), and the start of a handshake.
    assert!(is_tls_record([0x15, 3, 3, 0]));
    assert!(is_tls_record([0x16, 3, 1, 2]));
    // The largest size that is taken.
    assert!(!is_tls_record((MAX_ANSWER as u32).to_be_bytes()));
}
