//! Which queries meet which keys: cut into tiles, on the host.

use std::ops::Range;

use hmar_ops::Span;

/// Queries of a tile, and keys of a step.
pub(super) const TILE: usize = 64;

/// Which tokens a token attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Those of its own segment.
    Diagonal,
    /// Those of its own segment and of all before it.
    Causal,
}

/// Some neighbouring queries, up to [`TILE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub queries: Range<usize>,
    /// Keys that any of them sees.
    pub keys: Range<usize>,
    /// Keys that all of them see.
    pub open: Range<usize>,
}

/// Neighbouring tiles whose keys start at the same one.
pub(super) type Chain = Vec<Tile>;

/// The keys that each of a row of queries sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    /// The first query.
    pub start: usize,
    /// Of every query from there on.
    pub keys: Vec<Range<usize>>,
}

impl Sight {
    /// Of segments of these lengths.
    pub fn of_segments(segments: &[usize], pattern: Pattern) -> Self {
        let mut keys = Vec::new();
        for &length in segments {
            let start = keys.len();
            let first = if pattern == Pattern::Causal { 0 } else { start };
            keys.resize(start + length, first..start + length);
        }
        Sight { start: 0, keys }
    }

    /// Of spans, which follow one another.
    pub fn of_spans(spans: &[Span]) -> Self {
        let keys = spans.iter().flat_map(|span| span.queries.clone().map(|_| span.keys.clone()));
        Sight { start: spans.first().map_or(0, |span| span.queries.start), keys: keys.collect() }
    }

    /// Whether all queries see the same keys.
    pub fn is_uniform(&self) -> bool {
        self.keys.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// For the kernels, by query row: from, to.
    pub fn table(&self) -> Vec<[i32; 2]> {
        let before = std::iter::repeat_n([0, 0], self.start);
        before.chain(self.keys.iter().map(|keys| [keys.start as i32, keys.end as i32])).collect()
    }

    fn tile(&self, queries: Range<usize>) -> Tile {
        let keys = &self.keys[queries.start - self.start..queries.end - self.start];
        let ends = |of: fn(&Range<usize>) -> usize| keys.iter().map(of);
        let (starts, ends) = (ends(|keys| keys.start), ends(|keys| keys.end));
        Tile {
            queries,
            keys: starts.clone().min().unwrap_or(0)..ends.clone().max().unwrap_or(0),
            open: starts.max().unwrap_or(0)..ends.min().unwrap_or(0),
        }
    }

    /// All queries, cut: neighbours that see few keys share a tile, the others are cut where their first key changes and
    /// every [`TILE`] queries.
    pub fn chains(&self) -> Vec<Chain> {
        let mut chains: Vec<Chain> = Vec::new();
        let mut start = self.start;
        for run in self.keys.chunk_by(|a, b| a.start == b.start) {
            let queries = start..start + run.len();
            start = queries.end;
            if let Some([before]) = chains.last_mut().map(Vec::as_mut_slice) {
                let both = self.tile(before.queries.start..queries.end);
                if both.queries.len() <= TILE && both.keys.len() <= TILE {
                    *before = both;
                    continue;
                }
            }
            let cuts = queries.clone().step_by(TILE);
            chains.push(cuts.map(|first| self.tile(first..queries.end.min(first + TILE))).collect());
        }
        chains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the tiles of each chain end.
    fn ends(segments: &[usize], pattern: Pattern) -> Vec<Vec<usize>> {
        let chains = Sight::of_segments(segments, pattern).chains();
        chains.iter().map(|chain| chain.iter().map(|tile| tile.queries.end).collect()).collect()
    }

    #[test]
    fn short_segments_share_a_tile() {
        let found = ends(&[1, 4, 9, 16, 25, 36, 64, 100, 169], Pattern::Diagonal);
        assert_eq!(found, [vec![55], vec![91], vec![155], vec![219, 255], vec![319, 383, 424]]);
    }

    #[test]
    fn segments_that_see_those_before_are_one_chain() {
        assert_eq!(ends(&[1, 4, 9, 16, 25, 36], Pattern::Causal), [[64, 91]]);
    }

    #[test]
    fn a_tile_knows_what_all_of_it_sees() {
        let sight = Sight::of_segments(&[3, 5], Pattern::Causal);
        assert_eq!(sight.chains(), [vec![Tile { queries: 0..8, keys: 0..8, open: 0..3 }]]);
        let sight = Sight::of_segments(&[3, 5], Pattern::Diagonal);
        assert_eq!(sight.chains(), [vec![Tile { queries: 0..8, keys: 0..8, open: 3..3 }]]);
    }

    #[test]
    fn every_query_is_in_one_tile_with_all_its_keys() {
        let mut state = 1u64;
        let mut below = |end: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % end
        };
        for _ in 0..200 {
            let segments: Vec<usize> = (0..1 + below(20)).map(|_| 1 + below(150) as usize).collect();
            for pattern in [Pattern::Diagonal, Pattern::Causal] {
                let sight = Sight::of_segments(&segments, pattern);
                let mut next = 0;
                for tile in sight.chains().into_iter().flatten() {
                    assert_eq!(tile.queries.start, next);
                    next = tile.queries.end;
                    assert!((1..=TILE).contains(&tile.queries.len()));
                    for keys in &sight.keys[tile.queries.clone()] {
                        assert!(tile.keys.start <= keys.start && keys.end <= tile.keys.end);
                        assert!(keys.start <= tile.open.start && tile.open.end <= keys.end);
                    }
                }
                assert_eq!(next, sight.keys.len());
            }
        }
    }

    #[test]
    fn spans_begin_where_their_first_query_is() {
        let sight = Sight::of_spans(&[Span { queries: 30..94, keys: 0..94 }]);
        assert!(sight.is_uniform());
        assert_eq!(sight.chains(), [vec![Tile { queries: 30..94, keys: 0..94, open: 0..94 }]]);
        assert_eq!(sight.table()[29..31], [[0, 0], [0, 94]]);
    }
}
