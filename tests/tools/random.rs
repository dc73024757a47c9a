//! Chance that can be had again: tests that play at random print or take their seed, and play so many rounds.

use std::thread;
use std::time::{Duration, Instant};

/// A small generator, so that a round can be repeated from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The first seed of a run; `APPLAYER_SEED` repeats one.
pub(crate) fn first_seed() -> u64 {
    std::env::var("APPLAYER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The rounds of a long test, one that `make soak` names: `short` of them in the normal run. In `make soak` they are
/// `APPLAYER_ROUNDS` divided by `cost`, what one of them costs beside one kill of the store's own test, and progress is
/// told on stderr.
pub(crate) fn rounds(short: usize, cost: usize) -> impl Iterator<Item = usize> {
    let asked = std::env::var("APPLAYER_ROUNDS").ok().map(|text| match text.parse::<usize>() {
        Ok(asked) => asked.div_ceil(cost),
        Err(_) => panic!("APPLAYER_ROUNDS={text} is no number"),
    });
    let total = asked.unwrap_or(short);
    let name = thread::current().name().unwrap_or_default().to_owned();
    let begun = Instant::now();
    let mut told = begun;
    (0..total).inspect(move |round| {
        if asked.is_some() && told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("{name}: {round} of {total} rounds in {} s", begun.elapsed().as_secs());
        }
    })
}
