//! How the tokens of a sequence are cut into tiles, and which block does which of them: made once, on the host.

use std::cmp::Reverse;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::attention::Pattern;

/// Queries and keys of a tile.
pub(super) const QUERIES: usize = 64;
const KEYS: usize = 128;

/// Chains of up to so many queries are one block's: their sums stay in the cache, and nobody waits for a turn.
const OWNED_QUERIES: usize = 768;

/// Neighbouring queries; the kernels' `QueryTile`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub(super) struct QueryTile {
    pub first: i32,
    pub count: i32,
    /// Keys from, and up to, here are seen by all of them.
    pub most_low: i32,
    pub least_high: i32,
    /// The tiles of keys that some of them see.
    pub key_tile: i32,
    pub key_tiles: i32,
}

/// Neighbouring keys; the kernels' `KeyTile`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub(super) struct KeyTile {
    pub first: i32,
    pub count: i32,
    /// The tiles of queries that see some of them.
    pub query_begin: i32,
    pub query_end: i32,
}

/// Neighbouring tiles of keys of a sequence, all done by one block; the kernels' `Unit`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub(super) struct Unit {
    /// image · heads + head.
    pub sequence: i32,
    pub key_begin: i32,
    pub key_end: i32,
    /// 1 where other blocks add to the same queries' sums.
    pub shared: i32,
    /// 1 where they begin at different ones.
    pub rotated: i32,
}

/// Keys and queries that see one another directly or through others: a chain of additions to the same sums.
#[derive(Clone, Debug, PartialEq)]
struct Chain {
    key_tiles: Range<usize>,
    query_tiles: Range<usize>,
    /// Every tile of queries sees every tile of keys.
    whole: bool,
    queries: usize,
}

/// The tiles of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tiling {
    pub queries: Vec<QueryTile>,
    pub keys: Vec<KeyTile>,
    /// The keys that each of a tile's queries sees, `[tiles, QUERIES]`: from, up to.
    pub ranges: Vec<[i32; 2]>,
    chains: Vec<Chain>,
}

impl Tiling {
    /// Cuts segments of these lengths.
    pub fn new(segments: &[usize], pattern: Pattern) -> Self {
        let mut tiling = Tiling::default();
        match pattern {
            Pattern::Diagonal => {
                // Short segments share a tile of keys.
                for run in runs(segments, KEYS) {
                    let whole = run.len() == 1;
                    let tokens = first(&run)..last(&run);
                    let seen = run.iter().flat_map(|segment| segment.clone().map(|_| segment.clone()));
                    let seen: Vec<_> = seen.collect();
                    let cut: Vec<_> = cut(tokens.clone(), QUERIES).collect();
                    tiling.add_chain(&cut, tokens.clone(), |token| seen[token - tokens.start].clone(), whole);
                }
            }
            Pattern::Causal => {
                let all = runs(segments, usize::MAX);
                let Some(all) = all.first() else { return tiling };
                let ends: Vec<_> =
                    all.iter().flat_map(|segment| segment.clone().map(|_| segment.end)).collect();
                // A tile's queries see the same keys, but where short segments share it.
                let cut: Vec<_> = runs(segments, QUERIES)
                    .iter()
                    .flat_map(|run| cut(first(run)..last(run), QUERIES))
                    .collect();
                tiling.add_chain(&cut, 0..ends.len(), |token| 0..ends[token], all.len() == 1);
            }
        }
        tiling
    }

    fn add_chain(
        &mut self,
        query_tiles: &[Range<usize>],
        keys: Range<usize>,
        seen: impl Fn(usize) -> Range<usize>,
        whole: bool,
    ) {
        let (first_query, first_key) = (self.queries.len(), self.keys.len());
        for tile in query_tiles {
            let all = tile.clone().map(&seen);
            let farthest = all.clone().map(|keys| keys.end).max().unwrap_or(0);
            self.queries.push(QueryTile {
                first: tile.start as i32,
                count: tile.len() as i32,
                most_low: all.clone().map(|keys| keys.start).max().unwrap_or(0) as i32,
                least_high: all.clone().map(|keys| keys.end).min().unwrap_or(0) as i32,
                key_tile: first_key as i32,
                key_tiles: (farthest - keys.start).div_ceil(KEYS) as i32,
            });
            self.ranges.extend(all.map(|keys| [keys.start as i32, keys.end as i32]));
            self.ranges.resize(self.queries.len() * QUERIES, [0, 0]);
        }
        for (index, tile) in cut(keys, KEYS).enumerate() {
            // Later queries see no fewer keys.
            let blind =
                self.queries[first_query..].iter().take_while(|tile| tile.key_tiles as usize <= index);
            self.keys.push(KeyTile {
                first: tile.start as i32,
                count: tile.len() as i32,
                query_begin: (first_query + blind.count()) as i32,
                query_end: self.queries.len() as i32,
            });
        }
        self.chains.push(Chain {
            key_tiles: first_key..self.keys.len(),
            query_tiles: first_query..self.queries.len(),
            whole,
            queries: query_tiles.iter().map(ExactSizeIterator::len).sum(),
        });
    }
}

/// What blocks do: each takes the next unit when it is done with one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Schedule {
    pub units: Vec<Unit>,
    /// Tiles of sums that each block has to itself.
    pub own_sums: usize,
    /// Tiles of sums that are kept, all blocks' own before those that are shared.
    pub sums: usize,
}

impl Schedule {
    /// Divides the tiles of all sequences among `blocks` that run at once, the longest first.
    ///
    /// A block waits for others' additions to the same sums, but never for ever: it waits for units that were taken
    /// before, or, rotated, for those of the same chain, which is shorter than there are blocks.
    pub fn new(tiling: &Tiling, sequences: usize, blocks: usize) -> Self {
        let owned = |chain: &&Chain| chain.queries <= OWNED_QUERIES;
        let longest = tiling.chains.iter().filter(owned).map(|chain| chain.query_tiles.len()).max();
        let own_sums = longest.unwrap_or(0);
        let mut chains: Vec<_> = tiling.chains.iter().collect();
        chains.sort_by_key(|chain| (owned(chain), Reverse(chain.queries)));

        let mut units = Vec::new();
        for chain in &chains {
            for sequence in 0..sequences {
                let unit = |key_tiles: Range<usize>, shared: bool| Unit {
                    sequence: sequence as i32,
                    key_begin: key_tiles.start as i32,
                    key_end: key_tiles.end as i32,
                    shared: shared.into(),
                    rotated: (shared && chain.whole && chain.key_tiles.len() <= blocks).into(),
                };
                if owned(chain) {
                    units.push(unit(chain.key_tiles.clone(), false));
                } else {
                    units.extend(chain.key_tiles.clone().map(|tile| unit(tile..tile + 1, true)));
                }
            }
        }
        let shared = if chains.iter().all(owned) { 0 } else { sequences * tiling.queries.len() };
        Schedule { units, own_sums, sums: blocks * own_sums + shared }
    }
}

impl Schedule {
    /// A unit for every tile of queries of every sequence, for kernels whose blocks do one each.
    pub fn of_query_tiles(tiling: &Tiling, sequences: usize) -> Self {
        let unit = |sequence: usize| Unit { sequence: sequence as i32, ..Unit::zeroed() };
        let units = (0..sequences).flat_map(|sequence| tiling.queries.iter().map(move |_| unit(sequence)));
        Schedule { units: units.collect(), ..Schedule::default() }
    }
}

/// Neighbouring segments that fit into so many tokens together, as ranges of tokens; longer ones alone.
fn runs(segments: &[usize], most: usize) -> Vec<Vec<Range<usize>>> {
    let mut runs: Vec<Vec<Range<usize>>> = Vec::new();
    let mut end = 0;
    for &length in segments {
        let segment = end..end + length;
        end = segment.end;
        match runs.last_mut() {
            Some(run) if segment.end - first(run) <= most => run.push(segment),
            _ => runs.push(vec![segment]),
        }
    }
    runs
}

fn first(run: &[Range<usize>]) -> usize {
    run.first().map_or(0, |segment| segment.start)
}

fn last(run: &[Range<usize>]) -> usize {
    run.last().map_or(0, |segment| segment.end)
}

/// Parts of `size`, the last one shorter.
fn cut(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |start| start..(start + size).min(range.end))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const PYRAMID_256: [usize; 10] = [1, 4, 9, 16, 25, 36, 64, 100, 169, 256];
    const PYRAMID_512: [usize; 10] = [1, 4, 9, 16, 36, 81, 169, 324, 576, 1024];
    const ODD: [usize; 9] = [1, 1, 200, 3, 127, 129, 1, 700, 65];

    fn tilings() -> impl Iterator<Item = (Tiling, Vec<usize>, Pattern)> {
        let lists = [&PYRAMID_256[..], &PYRAMID_512, &ODD, &[1], &[64], &[1000]];
        lists.into_iter().flat_map(|segments| {
            [Pattern::Diagonal, Pattern::Causal]
                .map(|pattern| (Tiling::new(segments, pattern), segments.to_vec(), pattern))
        })
    }

    #[test]
    fn every_pair_that_sees_the_other_is_in_one_tile_of_each() {
        for (tiling, segments, pattern) in tilings() {
            let tokens: usize = segments.iter().sum();
            let mut seen = vec![0; tokens * tokens];
            for keys in &tiling.keys {
                for index in keys.query_begin..keys.query_end {
                    let tile = tiling.queries[index as usize];
                    for query in 0..tile.count {
                        let [low, high] = tiling.ranges[index as usize * QUERIES + query as usize];
                        let mine = low.max(keys.first)..high.min(keys.first + keys.count);
                        mine.for_each(|key| seen[(tile.first + query) as usize * tokens + key as usize] += 1);
                    }
                }
            }
            let mut start = 0;
            for &length in &segments {
                let first = if pattern == Pattern::Causal { 0 } else { start };
                for query in start..start + length {
                    for key in 0..tokens {
                        let expected = usize::from((first..start + length).contains(&key));
                        assert_eq!(seen[query * tokens + key], expected, "{segments:?} {pattern:?}");
                    }
                }
                start += length;
            }
        }
    }

    /// An addition to a tile's sums, as the kernel makes it.
    struct Addition {
        /// The sequence's tile of queries.
        sums: (i32, i32),
        order: i32,
        orders: i32,
        shared: bool,
        /// The tile of keys that it waits for, and the steps this must have made.
        before: (i32, i32),
        awaited: i32,
        /// The tile of keys that makes it.
        own: (i32, i32),
    }

    /// A unit's additions in their order.
    fn additions(tiling: &Tiling, unit: &Unit) -> Vec<Addition> {
        let mut additions = Vec::new();
        for index in unit.key_begin..unit.key_end {
            let keys = tiling.keys[index as usize];
            let steps = keys.query_end - keys.query_begin;
            let first_key = tiling.queries[keys.query_begin as usize].key_tile;
            let rank = index - first_key;
            for step in 0..steps {
                let at = if unit.rotated == 1 { (2 * rank + step) % steps } else { steps - 1 - step };
                let orders = tiling.queries[(keys.query_begin + at) as usize].key_tiles;
                let (mut order, mut before, mut awaited) = (rank, rank - 1, step + 1);
                if unit.rotated == 1 {
                    order = (at / 2 + orders - rank) % orders;
                    before = (rank + 1) % orders;
                    awaited = (at - 2 * before + 2 * steps) % steps + 1;
                }
                additions.push(Addition {
                    sums: (unit.sequence, keys.query_begin + at),
                    order,
                    orders,
                    shared: unit.shared == 1,
                    before: (unit.sequence, first_key + before),
                    awaited: if unit.shared == 1 && order > 0 { awaited } else { 0 },
                    own: (unit.sequence, index),
                });
            }
        }
        additions
    }

    #[test]
    fn all_sums_are_completed_in_order_whatever_waits_for_what() {
        for (tiling, segments, pattern) in tilings() {
            for (sequences, blocks) in [(3, 1), (5, 4), (7, 132)] {
                let schedule = Schedule::new(&tiling, sequences, blocks);
                let mut units = schedule.units.iter();
                // Every block's additions, the next one last.
                let mut rest: Vec<Vec<Addition>> = (0..blocks).map(|_| Vec::new()).collect();
                let mut made = HashMap::new();
                let mut progress: HashMap<_, i32> = HashMap::new();
                let mut moved = true;
                while moved {
                    moved = false;
                    for additions in &mut rest {
                        if additions.is_empty() {
                            additions
                                .extend(units.next().iter().flat_map(|unit| self::additions(&tiling, unit)));
                            additions.reverse();
                        }
                        while let Some(addition) = additions.last() {
                            if progress.get(&addition.before).copied().unwrap_or(0) < addition.awaited {
                                assert!(addition.shared, "{segments:?} {pattern:?}: an owner waits");
                                break;
                            }
                            let sum = made.entry(addition.sums).or_insert(0);
                            assert_eq!(*sum, addition.order, "{segments:?} {pattern:?}: out of order");
                            assert!(addition.order < addition.orders);
                            *sum += 1;
                            *progress.entry(addition.own).or_insert(0) += 1;
                            additions.pop();
                            moved = true;
                        }
                    }
                }
                let done = rest.iter().all(Vec::is_empty) && units.next().is_none();
                assert!(done, "{segments:?} {pattern:?}: {blocks} blocks wait for ever");
                let complete = |index: usize, made: i32| made == tiling.queries[index].key_tiles;
                assert!(made.iter().all(|(&(_, index), &made)| complete(index as usize, made)));
                assert_eq!(made.len(), sequences * tiling.queries.len());
            }
        }
    }

    #[test]
    fn short_segments_share_a_tile() {
        let tiling = Tiling::new(&PYRAMID_256, Pattern::Diagonal);
        let keys: Vec<_> = tiling.keys.iter().map(|tile| (tile.first, tile.count)).collect();
        assert_eq!(keys, [(0, 91), (91, 64), (155, 100), (255, 128), (383, 41), (424, 128), (552, 128)]);
    }
}
