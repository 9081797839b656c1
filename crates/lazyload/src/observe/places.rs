//! How much one address may have of something, so that nobody takes all of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Places by address.
#[derive(Clone, Debug)]
pub(super) struct Places {
    of_one: usize,
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// One place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    address: IpAddr,
    places: Places,
}

impl Places {
    /// So many for each address.
    pub(super) fn new(of_one: usize) -> Self {
        Self { of_one, taken: Arc::default() }
    }

    /// One more for this address, if it may have it.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_default();
        (*count < self.of_one).then(|| {
            *count += 1;
            Place { address, places: self.clone() }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_places_whatever_others_take_and_nothing_is_kept_of_who_has_gone() {
        let places = Places::new(2);
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let greedy = [places.take(address(1)), places.take(address(1))];
        assert!(greedy.iter().all(Option::is_some) && places.take(address(1)).is_none());
        let other = places.take(address(2));
        assert!(other.is_some());
        drop(greedy);
        assert!(places.take(address(1)).is_some());
        drop(other);
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
