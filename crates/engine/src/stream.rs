//! Named streams of random numbers: `seed, name -> numbers`, the same ones every time.
//!
//! For choices that must be spread, not secret. A stream of its own for each purpose: a new draw in one place moves no other.

use std::sync::atomic::{AtomicU64, Ordering};

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) over a shared counter: threads draw without a lock.
#[derive(Debug)]
pub(crate) struct Stream(AtomicU64);

impl Stream {
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        Self(AtomicU64::new(hash(seed, name.as_bytes())))
    }

    pub(crate) fn next(&self) -> u64 {
        mix(self
            .0
            .fetch_add(GOLDEN_GAMMA, Ordering::Relaxed)
            .wrapping_add(GOLDEN_GAMMA))
    }

    /// Draw from `0..bound`; 0 for a bound of 0. The bias of a small bound is below one in 2^32.
    pub(crate) fn below(&self, bound: usize) -> usize {
        (((self.next() >> 32) * bound as u64) >> 32) as usize
    }
}

/// FNV-1a, then mixed: equal on every node and in every version, unlike the standard hasher.
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ mix(seed);
    mix(bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_by_seed_and_name_and_differs_otherwise() {
        let draw = |seed, name: &str| {
            let stream = Stream::new(seed, name);
            (0..8).map(|_| stream.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_all_of_it() {
        let stream = Stream::new(7, "spread");
        let mut counts = [0_u32; 5];
        for _ in 0..5_000 {
            counts[stream.below(5)] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
        assert_eq!(stream.below(0), 0);
    }
}
