//! How the tokens of a sequence are cut into tiles, and which block does which of them: made once, on the host.

use std::cmp::Reverse;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::attention::Pattern;

/// Queries and keys of a tile.
pub(super) const QUERIES: usize = 64;
const KEYS: usize = 128;

/// A chain of up to so many tiles of queries can be one block's: nobody waits for anybody, and what its rows bring stays in
/// shared memory. The longer it is, the more of the cache its sums take, which every block has of its own.
const OWNED_TILES: usize = 12;

/// And is, if it has no more steps than this, or than this part of what a block has to do in all: longer ones would leave
/// others idle in the end.
const OWNED_STEPS: usize = 8;
const OWNED_PART: usize = 3;

/// Longer chains are done side by side, of so many tiles of queries together: these, their outputs' gradients and their
/// sums, 32 KiB a tile, stay in the cache.
const SIDE_BY_SIDE: usize = 1024;

/// Neighbouring queries; the kernels' `QueryTile`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub(super) struct QueryTile {
    pub first: i32,
    pub count: i32,
    /// Tiles of keys that some of them see, the chain's first ones.
    pub key_tiles: i32,
    /// 1 where several blocks add to its sums.
    pub shared: i32,
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
    /// One for each of those.
    pub first_step: i32,
    /// The first tile of queries of its chain.
    pub first_query: i32,
}

impl KeyTile {
    fn steps(&self) -> usize {
        (self.query_end - self.query_begin) as usize
    }
}

/// What a tile of queries does for a tile of keys; the kernels' `Step`.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub(super) struct Step {
    pub first: i32,
    pub count: i32,
    /// The tile of queries.
    pub tile: i32,
    /// The place of its rows' numbers, counted from the unit's first.
    pub rows: i32,
    pub flags: i32,
    /// How many steps `before`, whose addition to the same sums comes before, must have made; 0: nobody waits.
    pub awaited: i32,
    pub before: i32,
    /// Of the tile of keys' steps that are made then.
    pub number: i32,
}

impl Step {
    /// Some query does not see some of the first, and of the second 64 keys.
    const MASKED: [i32; 2] = [1, 2];
    /// The first and the last to add to the sums.
    pub const BEGINS: i32 = 4;
    pub const ENDS: i32 = 8;
    /// The rows' numbers are made then.
    const MEASURED: i32 = 16;
}

/// Neighbouring tiles of keys of a sequence, all done by one block; the kernels' `Unit`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub(super) struct Unit {
    pub image: i32,
    pub head: i32,
    pub key_begin: i32,
    pub key_end: i32,
    /// 1 where other blocks add to the same queries' sums.
    pub shared: i32,
}

/// Keys and queries that see one another directly or through others: a chain of additions to the same sums.
#[derive(Clone, Debug, PartialEq)]
struct Chain {
    key_tiles: Range<usize>,
    query_tiles: Range<usize>,
    /// One block does it.
    owned: bool,
    steps: usize,
}

/// The tiles of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tiling {
    pub queries: Vec<QueryTile>,
    pub keys: Vec<KeyTile>,
    /// The keys that each of a tile's queries sees, `[tiles, QUERIES]`: from, up to.
    pub ranges: Vec<[i32; 2]>,
    /// What the tiles of keys do, in order.
    pub steps: Vec<Step>,
    chains: Vec<Chain>,
}

impl Tiling {
    /// Cuts segments of these lengths, for so many sequences that all are done by `blocks`.
    pub fn new(segments: &[usize], pattern: Pattern, sequences: usize, blocks: usize) -> Self {
        let mut tiling = Tiling::default();
        match pattern {
            Pattern::Diagonal => {
                // Short segments share a tile of keys.
                for run in runs(segments, KEYS) {
                    let tokens = first(&run)..last(&run);
                    let seen = run.iter().flat_map(|segment| segment.clone().map(|_| segment.clone()));
                    let seen: Vec<_> = seen.collect();
                    let cut: Vec<_> = cut(tokens.clone(), QUERIES).collect();
                    let seen = |token: usize| seen[token - tokens.start].clone();
                    tiling.add_chain(&cut, tokens.clone(), seen);
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
                tiling.add_chain(&cut, 0..ends.len(), |token| 0..ends[token]);
            }
        }
        let steps: usize = tiling.chains.iter().map(|chain| chain.steps).sum();
        let most = OWNED_STEPS.max(steps * sequences / blocks / OWNED_PART);
        for chain in 0..tiling.chains.len() {
            let Chain { query_tiles, steps, .. } = &tiling.chains[chain];
            let owned = query_tiles.len() <= OWNED_TILES && *steps <= most;
            tiling.plan(chain, owned);
        }
        tiling
    }

    fn add_chain(
        &mut self,
        query_tiles: &[Range<usize>],
        keys: Range<usize>,
        seen: impl Fn(usize) -> Range<usize>,
    ) {
        let (first_query, first_key) = (self.queries.len(), self.keys.len());
        for tile in query_tiles {
            let all = tile.clone().map(&seen);
            let farthest = all.clone().map(|keys| keys.end).max().unwrap_or(0);
            self.queries.push(QueryTile {
                first: tile.start as i32,
                count: tile.len() as i32,
                key_tiles: (farthest - keys.start).div_ceil(KEYS) as i32,
                shared: 0,
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
                first_step: 0,
                first_query: first_query as i32,
            });
        }
        self.chains.push(Chain {
            key_tiles: first_key..self.keys.len(),
            query_tiles: first_query..self.queries.len(),
            owned: false,
            steps: self.keys[first_key..].iter().map(KeyTile::steps).sum(),
        });
    }

    /// Makes a chain's steps, for the one block that does it all or for several.
    fn plan(&mut self, chain: usize, owned: bool) {
        self.chains[chain].owned = owned;
        let Chain { key_tiles, query_tiles, .. } = self.chains[chain].clone();
        self.queries[query_tiles].iter_mut().for_each(|tile| tile.shared = (!owned).into());
        for (rank, index) in key_tiles.enumerate() {
            self.keys[index].first_step = self.steps.len() as i32;
            self.add_steps(index, rank as i32, owned);
        }
    }

    /// The steps of a tile of keys, its chain's number `rank`: the last queries, which see all keys of a chain, first.
    fn add_steps(&mut self, key_tile: usize, rank: i32, owned: bool) {
        let keys = self.keys[key_tile];
        for (step, index) in (keys.query_begin..keys.query_end).rev().enumerate() {
            let tile = self.queries[index as usize];
            let number = step as i32 + 1;
            let ranges = &self.ranges[index as usize * QUERIES..][..tile.count as usize];
            let masked = |group: usize| {
                let first = keys.first + (group * QUERIES) as i32;
                ranges.iter().any(|&[low, high]| first < low || first + QUERIES as i32 > high)
            };
            let flag = |holds: bool, flag: i32| if holds { flag } else { 0 };
            self.steps.push(Step {
                first: tile.first,
                count: tile.count,
                tile: index,
                // All tiles of keys begin with the same queries.
                rows: step as i32,
                flags: flag(masked(0), Step::MASKED[0])
                    | flag(masked(1), Step::MASKED[1])
                    | flag(rank == 0, Step::BEGINS)
                    | flag(rank + 1 == tile.key_tiles, Step::ENDS)
                    | flag(owned && rank == 0, Step::MEASURED),
                awaited: if owned || rank == 0 { 0 } else { number },
                before: key_tile as i32 - 1,
                number,
            });
        }
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
    /// Lists what there is to do in all sequences, the longest chains first.
    ///
    /// Units of a chain wait for one another, but only for such that come before them in the list. These are done, or in
    /// the hands of blocks that run, so somebody can always go on, however few blocks run at once.
    pub fn new(tiling: &Tiling, images: usize, heads: usize, blocks: usize) -> Self {
        let sequences = images * heads;
        let longest =
            tiling.chains.iter().filter(|chain| chain.owned).map(|chain| chain.query_tiles.len()).max();
        let own_sums = longest.unwrap_or(0);
        let mut chains: Vec<_> = tiling.chains.iter().collect();
        chains.sort_by_key(|chain| (chain.owned, Reverse(chain.steps)));

        let mut units = Vec::new();
        for chain in &chains {
            let unit = |sequence: usize, key_tiles: Range<usize>| Unit {
                image: (sequence / heads) as i32,
                head: (sequence % heads) as i32,
                key_begin: key_tiles.start as i32,
                key_end: key_tiles.end as i32,
                shared: (!chain.owned).into(),
            };
            if chain.owned {
                units.extend((0..sequences).map(|sequence| unit(sequence, chain.key_tiles.clone())));
                continue;
            }
            // A block adds to sums after the one before it in the chain: it finds that far ahead where others lie between.
            let together = (SIDE_BY_SIDE / chain.query_tiles.len()).max(1);
            for first in (0..sequences).step_by(together) {
                let side_by_side = first..(first + together).min(sequences);
                for tile in chain.key_tiles.clone() {
                    units.extend(side_by_side.clone().map(|sequence| unit(sequence, tile..tile + 1)));
                }
            }
        }
        let shared =
            if chains.iter().all(|chain| chain.owned) { 0 } else { sequences * tiling.queries.len() };
        Schedule { units, own_sums, sums: blocks * own_sums + shared }
    }
}

impl Schedule {
    /// A unit for every tile of queries of every sequence, for kernels whose blocks do one each.
    pub fn of_query_tiles(tiling: &Tiling, images: usize, heads: usize) -> Self {
        let unit =
            |image: usize, head: usize| Unit { image: image as i32, head: head as i32, ..Unit::zeroed() };
        let sequences = (0..images).flat_map(|image| (0..heads).map(move |head| unit(image, head)));
        let units = sequences.flat_map(|unit| tiling.queries.iter().map(move |_| unit));
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

    fn tilings(sequences: usize, blocks: usize) -> impl Iterator<Item = (Tiling, Vec<usize>, Pattern)> {
        let lists = [&PYRAMID_256[..], &PYRAMID_512, &ODD, &[1], &[64], &[1000]];
        lists.into_iter().flat_map(move |segments| {
            [Pattern::Diagonal, Pattern::Causal].map(|pattern| {
                (Tiling::new(segments, pattern, sequences, blocks), segments.to_vec(), pattern)
            })
        })
    }

    #[test]
    fn every_pair_that_sees_the_other_is_in_one_tile_of_each() {
        for (tiling, segments, pattern) in tilings(7, 132) {
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

    /// A unit's steps in their order, each with its tile of keys.
    fn steps(tiling: &Tiling, unit: &Unit) -> Vec<(i32, Step)> {
        let of = |index: i32| {
            let keys = tiling.keys[index as usize];
            let steps = &tiling.steps[keys.first_step as usize..];
            let steps = &steps[..(keys.query_end - keys.query_begin) as usize];
            steps.iter().map(move |&step| (index, step))
        };
        (unit.key_begin..unit.key_end).flat_map(of).collect()
    }

    #[test]
    fn all_sums_are_completed_in_the_same_order_whatever_waits_for_what() {
        for (sequences, blocks) in [(3, 1), (5, 4), (7, 132), (300, 132)] {
            for (tiling, segments, pattern) in tilings(sequences, blocks) {
                let schedule = Schedule::new(&tiling, sequences, 1, blocks);
                let mut units = schedule.units.iter();
                // Every block's unit and the steps left of it, the next one last.
                let mut rest: Vec<(Unit, Vec<(i32, Step)>)> = vec![(Unit::zeroed(), Vec::new()); blocks];
                let mut added: HashMap<_, Vec<i32>> = HashMap::new();
                let mut progress: HashMap<_, i32> = HashMap::new();
                let mut moved = true;
                while moved {
                    moved = false;
                    for (unit, left) in &mut rest {
                        if left.is_empty() {
                            let Some(&next) = units.next() else { continue };
                            (*unit, *left) = (next, steps(&tiling, &next));
                            left.reverse();
                        }
                        while let Some(&(key_tile, step)) = left.last() {
                            let made = progress.get(&(unit.image, step.before)).copied().unwrap_or(0);
                            if made < step.awaited {
                                assert_eq!(unit.shared, 1, "{segments:?} {pattern:?}: an owner waits");
                                break;
                            }
                            let sum = added.entry((unit.image, step.tile)).or_default();
                            assert_eq!(step.flags & Step::BEGINS != 0, sum.is_empty());
                            sum.push(key_tile);
                            let tiles = tiling.queries[step.tile as usize].key_tiles;
                            assert_eq!(step.flags & Step::ENDS != 0, sum.len() == tiles as usize);
                            progress.insert((unit.image, key_tile), step.number);
                            left.pop();
                            moved = true;
                        }
                    }
                }
                let done = rest.iter().all(|(_, left)| left.is_empty()) && units.next().is_none();
                assert!(done, "{segments:?} {pattern:?}: {blocks} blocks wait for ever");
                assert_eq!(added.len(), sequences * tiling.queries.len());
                for order in added.values() {
                    assert!(order.is_sorted(), "{segments:?} {pattern:?}: {order:?}");
                }
            }
        }
    }

    #[test]
    fn rows_of_an_owned_chain_are_measured_before_they_are_needed() {
        for (tiling, ..) in tilings(1000, 132) {
            for unit in Schedule::new(&tiling, 1000, 1, 132).units.iter().filter(|unit| unit.shared == 0) {
                let mut measured = Vec::new();
                for (_, step) in steps(&tiling, unit) {
                    if step.flags & Step::MEASURED != 0 {
                        assert_eq!(step.rows as usize, measured.len());
                        measured.push(step.tile);
                    }
                    assert_eq!(measured[step.rows as usize], step.tile);
                }
                assert!(measured.len() <= OWNED_TILES);
            }
        }
    }

    #[test]
    fn what_is_not_masked_is_seen_by_all_queries_of_a_tile() {
        for (tiling, segments, pattern) in tilings(7, 132) {
            for unit in Schedule::new(&tiling, 7, 1, 132).units {
                for (key_tile, step) in steps(&tiling, &unit) {
                    let first = tiling.keys[key_tile as usize].first;
                    let ranges = &tiling.ranges[step.tile as usize * QUERIES..][..step.count as usize];
                    for (group, flag) in Step::MASKED.into_iter().enumerate() {
                        let first = first + (group * QUERIES) as i32;
                        let whole = |&[low, high]: &[i32; 2]| low <= first && first + QUERIES as i32 <= high;
                        let masked = step.flags & flag != 0;
                        assert_eq!(masked, !ranges.iter().all(whole), "{segments:?} {pattern:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn short_segments_share_a_tile() {
        let tiling = Tiling::new(&PYRAMID_256, Pattern::Diagonal, 1, 132);
        let keys: Vec<_> = tiling.keys.iter().map(|tile| (tile.first, tile.count)).collect();
        assert_eq!(keys, [(0, 91), (91, 64), (155, 100), (255, 128), (383, 41), (424, 128), (552, 128)]);
    }
}
