use iocast_domain::time::SECOND;
use iocast_store::Attempt;

use super::{
    throttle::{PER_PAIR, WINDOW, failed},
    *,
};

#[test]
fn ten_failures_are_free_and_then_it_gets_slow() {
    let now = Timestamp::from_secs(1_000_000);
    let mut attempt = Attempt::default();
    for _ in 0..9 {
        attempt = failed(attempt, PER_PAIR, now);
        assert!(attempt.blocked_until <= now);
    }
    attempt = failed(attempt, PER_PAIR, now);
    assert_eq!(attempt.blocked_until.since(now), 30 * SECOND);
    attempt = failed(attempt, PER_PAIR, now);
    assert_eq!(attempt.blocked_until.since(now), MINUTE);
    assert_eq!(failed(attempt, PER_PAIR, now.plus(WINDOW + 1)).failures, 1);
    assert_eq!(network("2001:db8:1:2:3::4"), "2001:db8:1:2");
}

#[test]
fn the_hash_of_nobody_takes_as_long_as_a_real_one() {
    assert!(matches!(
        Argon2::default().verify_password(b"x", NOBODY),
        Err(argon2::password_hash::Error::PasswordInvalid)
    ));
}
