//! Sorting any number of records: chunks are sorted in memory, written to temporary files, and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::spool::{Spool, SpoolReader, SpoolWriter, Spooled};
use crate::fault::Fault;

/// The number of records that are sorted in memory.
const SORTED: usize = 8192;
/// The number of sorted runs that are merged into one; up to this many files are open for each size of run.
const RUNS: usize = 8;

/// Accepts records in any order and returns them sorted.
pub struct Sorter<T> {
    chunk: Vec<T>,
    /// Sorted runs: those of `SORTED` records, those of `RUNS` times as many, and so on.
    runs: Vec<Vec<Spool<T>>>,
}

impl<T> Default for Sorter<T> {
    fn default() -> Sorter<T> {
        Sorter { chunk: Vec::new(), runs: Vec::new() }
    }
}

impl<T: Spooled + Ord> Sorter<T> {
    /// Adds a record.
    ///
    /// # Errors
    /// As [`SpoolWriter::add`].
    pub fn add(&mut self, record: T) -> Result<(), Fault> {
        self.chunk.push(record);
        if self.chunk.len() < SORTED {
            return Ok(());
        }
        let mut run = self.chunk_as_run()?;
        for level in 0.. {
            if self.runs.len() == level {
                self.runs.push(Vec::new());
            }
            let Some(runs) = self.runs.get_mut(level) else { break };
            runs.push(run);
            if runs.len() < RUNS {
                break;
            }
            run = merge(std::mem::take(runs))?;
        }
        Ok(())
    }

    /// All records, sorted.
    ///
    /// # Errors
    /// As [`SpoolWriter::add`].
    pub fn finish(mut self) -> Result<Spool<T>, Fault> {
        let last = self.chunk_as_run()?;
        let mut runs: Vec<Spool<T>> = self.runs.into_iter().flatten().collect();
        if runs.is_empty() {
            return Ok(last);
        }
        runs.push(last);
        merge(runs)
    }

    fn chunk_as_run(&mut self) -> Result<Spool<T>, Fault> {
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.sort_unstable();
        let mut run = SpoolWriter::default();
        chunk.iter().try_for_each(|record| run.add(record))?;
        run.finish()
    }
}

fn merge<T: Spooled + Ord>(runs: Vec<Spool<T>>) -> Result<Spool<T>, Fault> {
    let mut merged = SpoolWriter::default();
    let mut readers: Vec<SpoolReader<T>> = runs.iter().map(Spool::read).collect();
    let mut heads = BinaryHeap::with_capacity(readers.len());
    for (at, reader) in readers.iter_mut().enumerate() {
        heads.extend(reader.next().transpose()?.map(|head| Reverse((head, at))));
    }
    while let Some(Reverse((record, at))) = heads.pop() {
        merged.add(&record)?;
        let next = readers.get_mut(at).and_then(Iterator::next).transpose()?;
        heads.extend(next.map(|next| Reverse((next, at))));
    }
    merged.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_whatever_their_number() {
        for count in [0, 1, SORTED - 1, SORTED, SORTED + 1, RUNS * SORTED, (RUNS * RUNS + RUNS + 2) * SORTED + 7] {
            let mut sorter = Sorter::default();
            // 7,919 and the counts have no common factor: each number once, in no order.
            let names = (0..count).map(|n| (n * 7919 % count.max(1)).to_string().into_bytes());
            names.for_each(|name| sorter.add((name, true)).unwrap());
            let mut wanted: Vec<Vec<u8>> = (0..count).map(|n| n.to_string().into_bytes()).collect();
            wanted.sort();
            let found: Vec<Vec<u8>> = sorter.finish().unwrap().read().map(|record| record.unwrap().0).collect();
            assert!(found == wanted, "{count}");
        }
    }
}
