//! Entries whose bytes are those of one that was judged a moment ago: they say the same, so nothing of them is read as text again.
//! `seen` decides how long that holds.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::scan::{Said, SaidCaller};
use super::seen::SeenPair;

/// Entries that are remembered at most.
const MAX_ENTRIES: usize = 4096;
/// Longest entry that is remembered, in bytes of what it tells; Envoy's have a hundred or two.
const MAX_BYTES: usize = 512;

/// What was said lately.
#[derive(Debug, Default)]
pub(super) struct Same {
    entries: HashTable<Remembered>,
    state: RandomState,
}

/// What one entry said.
#[derive(Debug)]
struct Remembered {
    hash: u64,
    /// Its parts, one after the other.
    bytes: Box<[u8]>,
    lengths: [usize; PARTS],
    /// What that means.
    pair: SeenPair,
    /// How often it came again.
    count: u64,
}

const PARTS: usize = 4;

/// What is compared. A caller that is no socket is never remembered; no peer is the same as an empty one, which no entry has.
fn parts<'a>(said: &Said<'a>) -> Option<[&'a [u8]; PARTS]> {
    let SaidCaller::Socket(caller) = said.caller else { return None };
    Some([caller, said.peer.unwrap_or_default(), said.upstream_cluster, said.authority])
}

impl Same {
    /// Whether the same was said before; then it is counted, once more.
    pub(super) fn again(&mut self, said: &Said<'_>) -> bool {
        let Some(parts) = parts(said) else { return false };
        let hash = self.hash(&parts);
        let found = self.entries.find_mut(hash, |entry| entry.is(&parts));
        found.map(|entry| entry.count += 1).is_some()
    }

    /// Remembers what an entry said, if there is room.
    pub(super) fn remember(&mut self, said: &Said<'_>, pair: impl FnOnce() -> SeenPair) {
        let Some(parts) = parts(said) else { return };
        let lengths = parts.map(<[u8]>::len);
        if self.entries.len() >= MAX_ENTRIES || lengths.iter().sum::<usize>() > MAX_BYTES {
            return;
        }
        let hash = self.hash(&parts);
        let entry = Remembered { hash, bytes: parts.concat().into(), lengths, pair: pair(), count: 0 };
        self.entries.insert_unique(hash, entry, |entry| entry.hash);
    }

    /// Forgets all, and says how often the entries of each pair came again. Keeps its memory.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (SeenPair, u64)> {
        self.entries.drain().map(|entry| (entry.pair, entry.count))
    }

    fn hash(&self, parts: &[&[u8]; PARTS]) -> u64 {
        let mut hasher = self.state.build_hasher();
        for part in parts {
            hasher.write(part);
            hasher.write_usize(part.len());
        }
        hasher.finish()
    }
}

impl Remembered {
    fn is(&self, parts: &[&[u8]; PARTS]) -> bool {
        let mut rest = &*self.bytes;
        parts.iter().zip(self.lengths).all(|(part, length)| {
            let Some((own, others)) = rest.split_at_checked(length) else { return false };
            rest = others;
            own == *part
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Said<'_> = Said {
        caller: SaidCaller::Socket(b"172.17.0.11"),
        peer: Some(b"spiffe://cluster.local/ns/default/sa/web"),
        upstream_cluster: b"inbound|9080||",
        authority: b"details:9080",
    };

    fn mk_pair(host: &str) -> SeenPair {
        let call = lazyload_logic::observation::Call {
            caller: [172, 17, 0, 11].into(),
            peer: None,
            authority: host.to_owned(),
            count: 1,
        };
        SeenPair::of(&call)
    }

    #[test]
    fn the_same_bytes_are_counted_and_any_other_byte_is_another_entry() {
        let mut same = Same::default();
        assert!(!same.again(&SAID));
        same.remember(&SAID, || mk_pair("details"));
        assert!(same.again(&SAID) && same.again(&SAID));
        let others = [
            Said { caller: SaidCaller::Socket(b"172.17.0.1"), ..SAID },
            Said { caller: SaidCaller::NotSocket, ..SAID },
            Said { caller: SaidCaller::Absent, ..SAID },
            Said { peer: None, ..SAID },
            Said { peer: Some(b"spiffe://cluster.local/ns/evil/sa/web"), ..SAID },
            Said { upstream_cluster: b"outbound|9080||", ..SAID },
            Said { authority: b"details", ..SAID },
            // The same bytes, cut at other places.
            Said { upstream_cluster: b"inbound|9080||d", authority: b"etails:9080", ..SAID },
        ];
        assert!(others.iter().all(|other| !same.again(other)));
        let drained: Vec<_> = same.drain().collect();
        assert_eq!(drained, [(mk_pair("details"), 2)]);
        assert!(!same.again(&SAID));
    }

    #[test]
    fn neither_many_entries_nor_long_ones_are_kept() {
        let mut same = Same::default();
        let long = vec![b' '; MAX_BYTES];
        let said = Said { authority: &long, ..SAID };
        same.remember(&said, || mk_pair("details"));
        assert!(!same.again(&said));
        for number in 0..MAX_ENTRIES + 10 {
            let authority = format!("host-{number}");
            same.remember(&Said { authority: authority.as_bytes(), ..SAID }, || mk_pair("host"));
        }
        assert_eq!(same.drain().count(), MAX_ENTRIES);
    }
}
