//! Attention over segments: what is checked, and the pyramids that it is timed over.

use std::ops::Range;

use hmar_checkpoint::{PYRAMID_256, PYRAMID_512, PYRAMID_1024};
use hmar_cuda::Pattern;
use hmar_error::Result;

use crate::check::{Outcome, Timing};
use crate::floor::Work;
use crate::part::{Part, PartResult, World};

/// Numbers of a head.
pub const HEAD_WIDTH: usize = 64;

/// Factor of scores that are not normalized.
pub const SCALE: f32 = 0.125;

/// Heads of what is timed: d16's.
pub const HEADS: usize = 16;

/// Their factor: HMAR's before training.
pub const FACTOR: f32 = 4.0;

/// An attention to check.
#[derive(Clone)]
pub struct Case {
    pub images: usize,
    pub heads: usize,
    pub segments: Vec<usize>,
    pub pattern: Pattern,
    /// The first and last head's factors; the others' lie between, a constant ratio apart. None: not normalized.
    pub factors: Option<(f32, f32)>,
}

impl Case {
    /// Of an image.
    pub fn tokens(&self) -> usize {
        self.segments.iter().sum()
    }

    /// Numbers of a token.
    pub fn width(&self) -> usize {
        self.heads * HEAD_WIDTH
    }

    pub fn name(&self) -> String {
        let Case { images, heads, segments, pattern, factors } = self;
        let how = factors.map_or("scaled".into(), |(first, last)| format!("factors {first}…{last}"));
        format!("{images} images, {heads} heads, {pattern:?} {segments:?}, {how}")
    }

    pub fn factor(&self, head: usize) -> f32 {
        let Some((first, last)) = self.factors else { return SCALE };
        first * (last / first).powf(head as f32 / (self.heads - 1).max(1) as f32)
    }

    /// The keys that each query sees.
    pub fn seen(&self) -> Vec<Range<usize>> {
        seen(&self.segments, self.pattern)
    }
}

fn seen(segments: &[usize], pattern: Pattern) -> Vec<Range<usize>> {
    let mut seen = Vec::new();
    for &length in segments {
        let start = seen.len();
        let first = if pattern == Pattern::Causal { 0 } else { start };
        seen.resize(start + length, first..start + length);
    }
    seen
}

/// A pyramid of a batch of images, attended to by [`HEADS`] heads.
#[derive(Clone)]
pub struct Pyramid {
    pub images: usize,
    pub segments: Vec<usize>,
    pub pattern: Pattern,
}

impl Pyramid {
    /// How many keys each token of an image sees.
    pub fn seen(&self) -> Vec<usize> {
        seen(&self.segments, self.pattern).iter().map(Range::len).collect()
    }

    /// Numbers of all queries.
    pub fn length(&self) -> usize {
        self.images * self.segments.iter().sum::<usize>() * HEADS * HEAD_WIDTH
    }

    /// Its time beside what an H200 allows. Useful arithmetic is `flops` for every number of a query and key that meet;
    /// `tensors` as long as the queries are moved.
    pub fn timed(&self, microseconds: f64, flops: f64, tensors: f64, unwritten: usize) -> PartResult {
        let pairs: usize = self.seen().iter().sum();
        let flops = flops * (self.images * HEADS * HEAD_WIDTH * pairs) as f64;
        let bytes = tensors * 2.0 * self.length() as f64;
        let percent = 100.0 * Work { bytes, flops }.floor() * 1e3 / microseconds;
        let outcome = Outcome::new(unwritten as f64, 0.0).timed(Timing { microseconds, bytes, flops });
        let mut result = PartResult::of(&outcome.note(format!("{percent:.0}% of an H200's cap")));
        result.data["percentOfCap"] = percent.into();
        result
    }
}

/// A part for every resolution and pattern.
pub fn over_pyramids(what: &str, bench: fn(&World, &Pyramid) -> Result<PartResult>) -> Vec<Part> {
    let rows = [(256, 64, &PYRAMID_256[..]), (512, 16, &PYRAMID_512[..]), (1024, 4, &PYRAMID_1024[..])];
    rows.into_iter()
        .flat_map(|(pixels, images, sides)| {
            [Pattern::Diagonal, Pattern::Causal].map(|pattern| {
                let segments = sides.iter().map(|side| side * side).collect();
                let pyramid = Pyramid { images, segments, pattern };
                let name = format!("bench/{what}/{pattern:?} {pixels} px ×{images}");
                Part::new(name, 60, move |world| bench(world, &pyramid))
            })
        })
        .collect()
}
