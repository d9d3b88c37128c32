//! How the tokens of a sequence are cut into tiles, and which block does which of them: made once, on the host.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::Pattern;

/// Queries and keys of a tile.
pub(super) const QUERIES: usize = 64;
const KEYS: usize = 128;

/// Chains of up to so many queries are one block's: their sums stay in the cache, and nobody waits for a turn.
const OWNED_QUERIES: usize = 384;

/// What a tile of keys costs beside its steps, in steps: bringing keys, storing their gradients.
const KEY_TILE_COST: usize = 2;

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
    /// The place of query tile 0's sums; may be before the first.
    pub sums: i32,
    /// The place of query tile 0's turn; negative where no other block adds to the sums.
    pub turns: i32,
    /// 1 where blocks that add to the same sums begin at different ones.
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

    fn cost(&self, key_tiles: Range<usize>) -> usize {
        let steps = |tile: &KeyTile| (tile.query_end - tile.query_begin) as usize;
        self.keys[key_tiles].iter().map(|tile| steps(tile) + KEY_TILE_COST).sum()
    }
}

/// What each block does, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Schedule {
    /// All blocks' units.
    pub units: Vec<Unit>,
    /// Where each block's units begin, and where the last one's end.
    pub ends: Vec<i32>,
    /// Tiles of sums that are kept.
    pub sums: usize,
}

impl Schedule {
    /// Divides the tiles of all sequences among `blocks` that run at once: the longest first, each to the block that
    /// has least to do.
    ///
    /// A block waits for others' additions to the same sums. It never waits for ever: units are handed out in the order
    /// of their additions, or, rotated, those of a chain each to a block of its own.
    pub fn new(tiling: &Tiling, sequences: usize, blocks: usize) -> Self {
        let owned = |chain: &&Chain| chain.queries <= OWNED_QUERIES;
        let longest = tiling.chains.iter().filter(owned).map(|chain| chain.query_tiles.len()).max();
        let own_sums = longest.unwrap_or(0);
        let mut chains: Vec<_> = tiling.chains.iter().collect();
        chains.sort_by_key(|chain| (owned(chain), Reverse(chain.queries)));

        let mut units = vec![Vec::new(); blocks];
        let mut loads: BinaryHeap<_> = (0..blocks).map(|block| Reverse((0, block))).collect();
        let mut shared = false;
        for chain in chains {
            let (key_tiles, first_query) = (chain.key_tiles.clone(), chain.query_tiles.start);
            for sequence in 0..sequences {
                let unit = |key_tiles: Range<usize>| Unit {
                    sequence: sequence as i32,
                    key_begin: key_tiles.start as i32,
                    key_end: key_tiles.end as i32,
                    sums: (blocks * own_sums + sequence * tiling.queries.len()) as i32,
                    turns: (sequence * tiling.queries.len()) as i32,
                    rotated: 0,
                };
                if owned(&chain) {
                    let Some(Reverse((load, block))) = loads.pop() else { return Schedule::default() };
                    let sums = (block * own_sums) as i32 - first_query as i32;
                    units[block].push(Unit { sums, turns: -1, ..unit(key_tiles.clone()) });
                    loads.push(Reverse((load + tiling.cost(key_tiles.clone()), block)));
                    continue;
                }
                shared = true;
                let rotated = chain.whole && key_tiles.len() <= blocks;
                let mut taken = Vec::new();
                for key_tile in key_tiles.clone() {
                    let Some(Reverse((load, block))) = loads.pop() else { return Schedule::default() };
                    units[block].push(Unit { rotated: rotated.into(), ..unit(key_tile..key_tile + 1) });
                    let next = Reverse((load + tiling.cost(key_tile..key_tile + 1), block));
                    if rotated { taken.push(next) } else { loads.push(next) }
                }
                loads.extend(taken);
            }
        }
        let ends = units.iter().scan(0, |end, units| {
            *end += units.len() as i32;
            Some(*end)
        });
        let ends = std::iter::once(0).chain(ends).collect();
        let all = if shared { sequences * tiling.queries.len() } else { 0 };
        Schedule { units: units.concat(), ends, sums: blocks * own_sums + all }
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

    /// The additions of a block in the kernel's order: which sum, when it is its turn, of how many.
    fn additions(tiling: &Tiling, units: &[Unit]) -> Vec<(i32, i32, i32, bool)> {
        let mut additions = Vec::new();
        for unit in units {
            for index in unit.key_begin..unit.key_end {
                let keys = tiling.keys[index as usize];
                let steps = keys.query_end - keys.query_begin;
                for step in 0..steps {
                    let tile = |at: i32| tiling.queries[at as usize];
                    let rank = index - tile(keys.query_begin).key_tile;
                    let at = if unit.rotated == 1 { (2 * rank + step) % steps } else { steps - 1 - step };
                    let query = keys.query_begin + at;
                    let orders = tile(query).key_tiles;
                    let order = if unit.rotated == 1 { (at / 2 + orders - rank) % orders } else { rank };
                    additions.push((unit.sums + query, order, orders, unit.turns >= 0));
                }
            }
        }
        additions
    }

    #[test]
    fn all_sums_are_completed_whatever_waits_for_what() {
        for (tiling, segments, pattern) in tilings() {
            for (sequences, blocks) in [(3, 1), (5, 4), (7, 132)] {
                let schedule = Schedule::new(&tiling, sequences, blocks);
                let mut rest: Vec<_> = schedule
                    .ends
                    .windows(2)
                    .map(|ends| additions(&tiling, &schedule.units[ends[0] as usize..ends[1] as usize]))
                    .collect();
                rest.iter_mut().for_each(|additions| additions.reverse());
                let mut done = vec![0; schedule.sums];
                let mut completed = 0;
                loop {
                    let mut moved = false;
                    for additions in &mut rest {
                        while let Some(&(sum, order, orders, waits)) = additions.last() {
                            let sum = &mut done[sum as usize];
                            if *sum != order {
                                assert!(waits, "{segments:?} {pattern:?}: out of order");
                                break;
                            }
                            *sum = if order + 1 == orders { 0 } else { order + 1 };
                            completed += usize::from(order + 1 == orders);
                            additions.pop();
                            moved = true;
                        }
                    }
                    if !moved {
                        break;
                    }
                }
                assert!(
                    rest.iter().all(Vec::is_empty),
                    "{segments:?} {pattern:?}: {blocks} blocks wait for ever"
                );
                assert_eq!(completed, sequences * tiling.queries.len());
            }
        }
    }

    #[test]
    fn blocks_have_about_the_same_to_do() {
        for (segments, pattern, sequences) in [
            (&PYRAMID_256, Pattern::Diagonal, 1024),
            (&PYRAMID_256, Pattern::Causal, 1024),
            (&PYRAMID_512, Pattern::Diagonal, 256),
            (&PYRAMID_512, Pattern::Causal, 256),
        ] {
            let tiling = Tiling::new(segments, pattern);
            let schedule = Schedule::new(&tiling, sequences, 132);
            let loads: Vec<usize> = schedule
                .ends
                .windows(2)
                .map(|ends| {
                    let units = &schedule.units[ends[0] as usize..ends[1] as usize];
                    let cost =
                        |unit: &Unit| tiling.cost(unit.key_begin as usize..unit.key_end as usize);
                    units.iter().map(cost).sum()
                })
                .collect();
            let (most, all) = (loads.iter().max().copied().unwrap_or(0), loads.iter().sum::<usize>());
            assert!((most * 132) as f64 <= 1.03 * all as f64, "{segments:?} {pattern:?}: {most} of {all}");
        }
    }

    #[test]
    fn short_segments_share_a_tile() {
        let tiling = Tiling::new(&PYRAMID_256, Pattern::Diagonal);
        let keys: Vec<_> = tiling.keys.iter().map(|tile| (tile.first, tile.count)).collect();
        assert_eq!(keys, [(0, 91), (91, 64), (155, 100), (255, 128), (383, 41), (424, 128), (552, 128)]);
    }
}
