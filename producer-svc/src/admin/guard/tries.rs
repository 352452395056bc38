use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong passwords that an address may send in a [`WINDOW`].
const MOST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are remembered; of more, the one whose window ends first is forgotten.
const ADDRESSES: usize = 1_024;

/// Wrong passwords by address, so that guessing takes its time. Operators elsewhere are not held up
/// by who guesses.
#[derive(Debug, Default)]
pub(super) struct Tries(HashMap<IpAddr, Counted>);

#[derive(Debug)]
struct Counted {
    since: Instant,
    wrong: u32,
}

impl Tries {
    /// How long an address has to wait before it is listened to again.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let counted = self.0.get(&counted_as(address))?;
        let left = WINDOW.checked_sub(now.duration_since(counted.since))?;
        (counted.wrong >= MOST).then_some(left)
    }

    pub(super) fn wrong(&mut self, address: IpAddr, now: Instant) {
        let address = counted_as(address);
        if !self.0.contains_key(&address) && self.0.len() >= ADDRESSES {
            let oldest = self.0.iter().min_by_key(|(_, counted)| counted.since);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.0.remove(&oldest);
            }
        }
        let counted = self.0.entry(address).or_insert(Counted {
            since: now,
            wrong: 0,
        });
        if now.duration_since(counted.since) > WINDOW {
            *counted = Counted {
                since: now,
                wrong: 0,
            };
        }
        counted.wrong += 1;
    }
}

/// A network of IPv6 counts as one: its owner has 2⁶⁴ addresses.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_waits_and_others_do_not() {
        let mut tries = Tries::default();
        let begun = Instant::now();
        let guesser: IpAddr = "2001:db8::1".parse().unwrap();
        for _ in 0..MOST {
            assert_eq!(tries.wait(guesser, begun), None);
            tries.wrong(guesser, begun);
        }
        let neighbour = "2001:db8::ffff:1".parse().unwrap();
        assert_eq!(tries.wait(neighbour, begun), Some(WINDOW));
        assert_eq!(tries.wait("127.0.0.1".parse().unwrap(), begun), None);
        let later = begun + WINDOW + Duration::from_millis(1);
        assert_eq!(tries.wait(guesser, later), None);
        tries.wrong(guesser, later);
        assert_eq!(tries.wait(guesser, later), None, "counted anew");
    }

    #[test]
    fn no_more_addresses_are_remembered_than_there_is_room_for() {
        let mut tries = Tries::default();
        let begun = Instant::now();
        for n in 0..ADDRESSES as u32 * 2 {
            let at = begun + Duration::from_millis(n.into());
            tries.wrong(IpAddr::V4(n.into()), at);
        }
        assert_eq!(tries.0.len(), ADDRESSES);
        assert!(!tries.0.contains_key(&IpAddr::V4(0.into())));
    }
}
