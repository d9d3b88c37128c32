//! Which block does which tiles of which sequence and head, in which order: made once, on the host.
//!
//! A block's groups of warps do up to as many tiles at a time. Tiles of a chain share its keys; tiles whose keys are one
//! step have a stage each. Long work comes first, so that blocks end together; tiles of the same keys come together, so
//! that the second finds them in the cache.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytemuck::{Pod, Zeroable};

use super::tiles::{Chain, TILE, Tile};

/// The kernels' `Task`: what a group does in an item.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub(super) struct Task {
    /// Counted from the item's.
    pub sequence: i32,
    pub head: i32,
    pub queries: [i32; 2],
    pub keys: [i32; 2],
    pub open: [i32; 2],
    /// The item's stages before its own, and all of them.
    pub before: u16,
    pub stages: u16,
    unused: [i32; 3],
}

impl Task {
    fn new(tile: &Tile, head: usize, before: usize, stages: usize) -> Self {
        let range = |range: &std::ops::Range<usize>| [range.start as i32, range.end as i32];
        Task {
            sequence: 0,
            head: head as i32,
            queries: range(&tile.queries),
            keys: range(&tile.keys),
            open: range(&tile.open),
            before: before as u16,
            stages: stages as u16,
            unused: [0; 3],
        }
    }

    fn idle(stages: usize) -> Self {
        Task { stages: stages as u16, ..Task::default() }
    }
}

/// The kernels' `Assignment` but for its tasks: what the groups of a block do together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub(super) struct Head {
    /// Steps of [`TILE`] keys.
    pub stages: i32,
    /// Keys that all groups share; none where each has its own stage.
    pub keys: [i32; 2],
    unused: i32,
}

/// What the groups of a block do together, for any sequence and head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assignment {
    pub head: Head,
    /// One a group.
    pub tasks: Vec<Task>,
    /// How long it takes, about: cycles.
    cost: usize,
    /// Done for every so many heads.
    heads: usize,
}

/// Cycles of what an item, a stage, and a group's step take, about.
const ITEM_COST: usize = 1000;
const STAGE_COST: usize = 150;
const STEP_COST: usize = 330;

impl Assignment {
    /// Tiles of a chain, up to as many as there are groups.
    fn of_chain(tiles: &[Tile], groups: usize) -> Self {
        let start = tiles[0].keys.start;
        let end = tiles.iter().map(|tile| tile.keys.end).max().unwrap_or(start);
        let stages = (end - start).div_ceil(TILE);
        let steps: usize = tiles.iter().map(|tile| tile.keys.len().div_ceil(TILE)).sum();
        let mut tasks: Vec<_> = tiles.iter().map(|tile| Task::new(tile, 0, 0, stages)).collect();
        tasks.resize(groups, Task::idle(stages));
        Assignment {
            head: Head { stages: stages as i32, keys: [start as i32, end as i32], unused: 0 },
            tasks,
            cost: ITEM_COST + stages * STAGE_COST + steps * STEP_COST,
            heads: 1,
        }
    }

    /// Tiles whose keys are one step each.
    fn of_short(tiles: &[&Tile], groups: usize) -> Self {
        let stages = tiles.len();
        let tasks = tiles.iter().enumerate().map(|(stage, tile)| Task::new(tile, 0, stage, stages));
        Assignment::apart(tasks.collect(), groups, 1)
    }

    /// One tile whose keys are one step, of as many neighbouring heads as there are groups.
    fn of_heads(tile: &Tile, groups: usize) -> Self {
        Assignment::apart(
            (0..groups).map(|head| Task::new(tile, head, head, groups)).collect(),
            groups,
            groups,
        )
    }

    fn apart(mut tasks: Vec<Task>, groups: usize, heads: usize) -> Self {
        let stages = tasks.len();
        tasks.resize(groups, Task::idle(stages));
        let cost = ITEM_COST + stages * (STAGE_COST + STEP_COST);
        Assignment { head: Head { stages: stages as i32, ..Head::default() }, tasks, cost, heads }
    }
}

/// All assignments of the chains, those of a chain together.
fn assignments(chains: &[Chain], groups: usize) -> Vec<Vec<Assignment>> {
    let (short, long): (Vec<_>, Vec<_>) =
        chains.iter().partition(|chain| matches!(&chain[..], [tile] if tile.keys.len() <= TILE));
    let mut all: Vec<Vec<_>> = long
        .into_iter()
        .map(|chain| {
            // As even as can be: 4 tiles for 3 groups are 2 and 2.
            let parts = chain.len().div_ceil(groups);
            let (size, larger) = (chain.len() / parts, chain.len() % parts);
            let (first, rest) = chain.split_at(larger * (size + 1));
            let parts = first.chunks(size + 1).chain(rest.chunks(size));
            parts.map(|tiles| Assignment::of_chain(tiles, groups)).collect()
        })
        .collect();
    let short: Vec<_> = short.into_iter().flatten().collect();
    all.extend(short.chunks(groups).map(|tiles| match tiles {
        [tile] => vec![Assignment::of_heads(tile, groups)],
        tiles => vec![Assignment::of_short(tiles, groups)],
    }));
    all
}

/// What every block does, in order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schedule {
    pub assignments: Vec<Assignment>,
    /// Assignment, sequence, head, nothing: all blocks' items.
    pub items: Vec<[i32; 4]>,
    /// Where each block's items start, and where the last one's end.
    pub starts: Vec<i32>,
}

impl Schedule {
    /// Spreads the chains of all heads of all sequences over up to so many blocks.
    pub fn new(chains: &[Chain], sequences: usize, heads: usize, groups: usize, blocks: usize) -> Self {
        let mut all = Vec::new();
        let mut items = Vec::new();
        for chain in assignments(chains, groups) {
            let most = chain.iter().map(|assignment| assignment.cost).max().unwrap_or(0);
            for assignment in chain {
                // Items of a chain come together unless they are much shorter: those fill up the end.
                let mut band = most;
                while band > 4 * assignment.cost {
                    band /= 4;
                }
                for place in (0..sequences * heads).step_by(assignment.heads) {
                    items.push((Reverse(band), place, Reverse(assignment.cost), all.len()));
                }
                all.push(assignment);
            }
        }
        items.sort_unstable();
        let mut lists = vec![Vec::new(); blocks.min(items.len())];
        let mut free: BinaryHeap<_> = (0..lists.len()).map(|block| Reverse((0, block))).collect();
        for (_, place, Reverse(cost), assignment) in items {
            let Some(Reverse((load, block))) = free.pop() else { break };
            lists[block].push([assignment as i32, (place / heads) as i32, (place % heads) as i32, 0]);
            free.push(Reverse((load + cost, block)));
        }
        let ends = lists.iter().scan(0, |end, list| {
            *end += list.len() as i32;
            Some(*end)
        });
        let starts = std::iter::once(0).chain(ends).collect();
        Schedule { assignments: all, items: lists.concat(), starts }
    }

    /// All assignments as the kernels read them.
    pub fn words(&self) -> Vec<i32> {
        let of = |assignment: &Assignment| {
            let mut words = bytemuck::cast_slice(&[assignment.head]).to_vec();
            words.extend_from_slice(bytemuck::cast_slice(&assignment.tasks));
            words
        };
        self.assignments.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::tiles::{Pattern, Sight};
    use super::*;

    const PYRAMID: [usize; 10] = [1, 4, 9, 16, 25, 36, 64, 100, 169, 256];

    fn schedule(segments: &[usize], pattern: Pattern, groups: usize) -> Schedule {
        Schedule::new(&Sight::of_segments(segments, pattern).chains(), 5, 7, groups, 132)
    }

    /// Every tile of every head of every sequence, as (sequence, head, first query).
    fn done(schedule: &Schedule) -> Vec<(i32, i32, i32)> {
        let of = |&[assignment, sequence, head, _]: &[i32; 4]| {
            let tasks = schedule.assignments[assignment as usize].tasks.iter();
            let tasks = tasks.filter(|task| task.queries[0] < task.queries[1]);
            tasks.map(move |task| {
                let head = head + task.head;
                (sequence + head / 7, head % 7, task.queries[0])
            })
        };
        schedule.items.iter().flat_map(of).filter(|&(sequence, ..)| sequence < 5).collect()
    }

    #[test]
    fn every_tile_is_done_once() {
        for pattern in [Pattern::Diagonal, Pattern::Causal] {
            for segments in [&PYRAMID[..], &[36], &[1], &[700, 1, 1, 64]] {
                for groups in [1, 3] {
                    let schedule = schedule(segments, pattern, groups);
                    let tiles: usize =
                        Sight::of_segments(segments, pattern).chains().iter().map(Vec::len).sum();
                    let done = done(&schedule);
                    assert_eq!(done.len(), 5 * 7 * tiles, "{segments:?} {pattern:?} {groups}");
                    assert_eq!(done.iter().collect::<HashSet<_>>().len(), done.len());
                }
            }
        }
    }

    #[test]
    fn tiles_share_the_keys_of_their_chain() {
        let schedule = schedule(&PYRAMID, Pattern::Diagonal, 3);
        let stages: Vec<_> = schedule
            .assignments
            .iter()
            .map(|assignment| (assignment.head.stages, assignment.head.keys, assignment.tasks.len()))
            .collect();
        let (hundred, longer) = ((2, [155, 255], 3), (3, [255, 424], 3));
        let longest = (4, [424, 680], 3);
        assert_eq!(stages, [hundred, longer, longest, longest, (3, [0, 0], 3)]);
    }

    #[test]
    fn blocks_end_together() {
        for pattern in [Pattern::Diagonal, Pattern::Causal] {
            let schedule = Schedule::new(&Sight::of_segments(&PYRAMID, pattern).chains(), 64, 16, 3, 132);
            let load = |bounds: &[i32]| -> usize {
                let items = &schedule.items[bounds[0] as usize..bounds[1] as usize];
                items.iter().map(|item| schedule.assignments[item[0] as usize].cost).sum()
            };
            let loads: Vec<_> = schedule.starts.windows(2).map(load).collect();
            let mean = loads.iter().sum::<usize>() / loads.len();
            assert!(loads.iter().all(|load| load.abs_diff(mean) < mean / 25), "{loads:?}");
        }
    }

    #[test]
    fn small_work_takes_few_blocks() {
        let chains = Sight::of_segments(&[36], Pattern::Diagonal).chains();
        let schedule = Schedule::new(&chains, 2, 4, 1, 264);
        assert_eq!(schedule.items.len(), 8);
        assert_eq!(schedule.starts, (0..=8).collect::<Vec<_>>());
    }

    #[test]
    fn words_are_laid_out_as_the_kernels_read_them() {
        assert_eq!(size_of::<Task>(), 48);
        let schedule = schedule(&[100], Pattern::Diagonal, 3);
        let words = schedule.words();
        assert_eq!(words.len(), 4 + 3 * 12);
        assert_eq!(words[..4], [2, 0, 100, 0]);
        assert_eq!(words[4..13], [0, 0, 0, 64, 0, 100, 0, 100, 2 << 16]);
    }
}
