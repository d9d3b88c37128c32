//! Attention: for each sequence, head and span, scores and sums by the same product as everything else.

use rayon::prelude::*;

use super::disjoint::Disjoint;
use super::kernel::{BLOCK_ROWS, Instructions, PanelSlice};
use super::matrix::PANEL;
use super::reduce::{largest_of, sum_of};
use super::workspace::Workspace;
use crate::math::exp;
use crate::{AttentionShape, Precision, Span};

/// How scores are made, with plain slices.
#[derive(Clone, Copy)]
pub(super) enum ScoreScale<'a> {
    Normalized(&'a [f32]),
    Scaled(f32),
}

/// Smallest norm a query or key is divided by.
const SMALLEST_NORM: f32 = 1e-12;

pub(super) fn attention(
    instructions: Instructions,
    shape: &AttentionShape<'_>,
    qkv: &[f32],
    cached: Option<(&[f32], usize)>,
    scale: ScoreScale<'_>,
    out: &mut [f32],
) {
    let (Some(first), Some(last)) = (shape.spans.first(), shape.spans.last()) else { return };
    let width = shape.heads * shape.head_width;
    let queries = last.queries.end - first.queries.start;
    let out = Disjoint::new(&mut out[..shape.sequences * queries * width]);
    let tasks = shape.sequences * shape.heads * shape.spans.len();
    // Longest spans first: they come last in a pyramid.
    (0..tasks).into_par_iter().rev().with_max_len(1).for_each(|task| {
        let span = &shape.spans[task / (shape.sequences * shape.heads)];
        let (sequence, head) = (task / shape.heads % shape.sequences, task % shape.heads);
        let of_sequence = |length: usize| sequence * length..(sequence + 1) * length;
        let head_start = head * shape.head_width;
        let columns = |rows, stride, first: usize| Columns {
            rows,
            stride,
            start: first * width + head_start,
            width: shape.head_width,
        };
        let own = &qkv[of_sequence(shape.rows * 3 * width)];
        let (keys, values) = match cached {
            None => (columns(own, 3 * width, 1), columns(own, 3 * width, 2)),
            Some((rows, capacity)) => {
                let rows = &rows[of_sequence(capacity * 2 * width)];
                (columns(rows, 2 * width, 0), columns(rows, 2 * width, 1))
            }
        };
        let queries_of = columns(own, 3 * width, 0);
        let view = HeadView { queries: queries_of, keys, values, head_width: shape.head_width, head, scale };
        let store = |query: usize, at: usize, values: &[f32]| {
            let row = sequence * queries + query - first.queries.start;
            // SAFETY: each (sequence, head, span) writes its own queries' columns of its head.
            let target = unsafe { out.slice(row * width + head * shape.head_width + at, values.len()) };
            target.copy_from_slice(values);
        };
        Workspace::with(instructions, |workspace| {
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || view.attend(span, workspace, store),
            );
        });
    });
}

/// A head's columns of a sequence's rows.
#[derive(Clone, Copy)]
struct Columns<'a> {
    rows: &'a [f32],
    stride: usize,
    start: usize,
    width: usize,
}

impl<'a> Columns<'a> {
    fn of(&self, row: usize) -> &'a [f32] {
        &self.rows[row * self.stride + self.start..][..self.width]
    }
}

/// One head of one sequence.
struct HeadView<'a> {
    queries: Columns<'a>,
    keys: Columns<'a>,
    values: Columns<'a>,
    head_width: usize,
    head: usize,
    scale: ScoreScale<'a>,
}

impl HeadView<'_> {
    /// What a query is multiplied by before the scores.
    fn query_factor(&self, query: &[f32]) -> f32 {
        match self.scale {
            ScoreScale::Normalized(factors) => factors[self.head] / norm(query),
            ScoreScale::Scaled(factor) => factor,
        }
    }

    fn key_factor(&self, key: &[f32]) -> f32 {
        match self.scale {
            ScoreScale::Normalized(_) => 1.0 / norm(key),
            ScoreScale::Scaled(_) => 1.0,
        }
    }

    #[inline(always)]
    fn attend(&self, span: &Span, workspace: &mut Workspace, store: impl Fn(usize, usize, &[f32])) {
        let keys = span.keys.len();
        let depth = self.head_width.next_multiple_of(2);
        let key_depth = keys.next_multiple_of(2);
        let key_panels = keys.div_ceil(PANEL);
        let value_panels = self.head_width.div_ceil(PANEL);

        let key_weights = workspace.keys.at_least(key_panels * depth * PANEL);
        key_weights.fill(0.0);
        let value_weights = workspace.values.at_least(value_panels * key_depth * PANEL);
        value_weights.fill(0.0);
        for (i, row) in span.keys.clone().enumerate() {
            let key = self.keys.of(row);
            let factor = self.key_factor(key);
            let start = i / PANEL * depth * PANEL + i % PANEL;
            for (k, value) in key.iter().enumerate() {
                key_weights[start + k * PANEL] = value * factor;
            }
            for (panel, values) in self.values.of(row).chunks(PANEL).enumerate() {
                let start = (panel * key_depth + i) * PANEL;
                value_weights[start..start + values.len()].copy_from_slice(values);
            }
        }

        let score_stride = key_panels * PANEL;
        let mut scaled = [0.0; PANEL];
        for block in span.queries.clone().step_by(BLOCK_ROWS) {
            let rows = block..(block + BLOCK_ROWS).min(span.queries.end);
            let height = rows.len();
            let scores = workspace.scores.at_least(height * score_stride);
            let sums = workspace.sums.at_least(height * PANEL);
            let packed = &mut workspace.packed;

            for (panel, weights) in key_weights.chunks_exact(depth * PANEL).enumerate() {
                if panel == 0 {
                    for (at, row) in rows.clone().enumerate() {
                        let query = self.queries.of(row);
                        let factor = self.query_factor(query);
                        for (chunk, values) in query.chunks(PANEL).enumerate() {
                            let scaled = &mut scaled[..values.len()];
                            scaled.iter_mut().zip(values).for_each(|(s, v)| *s = v * factor);
                            packed.put(Precision::F32, at, chunk * PANEL, scaled);
                        }
                        packed.put_zeros(Precision::F32, at, self.head_width, depth - self.head_width);
                    }
                }
                packed.multiply(height, depth, PanelSlice::F32(weights), false, sums);
                for (row, sums) in scores.chunks_exact_mut(score_stride).zip(sums.chunks_exact(PANEL)) {
                    row[panel * PANEL..(panel + 1) * PANEL].copy_from_slice(sums);
                }
            }
            for row in scores.chunks_exact_mut(score_stride) {
                softmax(&mut row[..keys]);
                row[keys..].fill(0.0);
            }
            let step = keys_at_a_time(key_depth);
            for (panel, weights) in value_weights.chunks_exact(key_depth * PANEL).enumerate() {
                for start in (0..key_depth).step_by(step) {
                    let end = (start + step).min(key_depth);
                    for (at, row) in scores.chunks_exact(score_stride).enumerate() {
                        packed.put(Precision::F32, at, 0, &row[start..end]);
                    }
                    let weights = PanelSlice::F32(&weights[start * PANEL..end * PANEL]);
                    packed.multiply(height, end - start, weights, start > 0, sums);
                }
                let width = PANEL.min(self.head_width - panel * PANEL);
                for (row, sums) in rows.clone().zip(sums.chunks_exact(PANEL)) {
                    store(row, panel * PANEL, &sums[..width]);
                }
            }
        }
    }
}

/// Keys multiplied at a time.
fn keys_at_a_time(keys: usize) -> usize {
    Instructions::Portable.depth_step(Precision::F32, keys)
}

#[inline(always)]
fn norm(vector: &[f32]) -> f32 {
    sum_of(vector, |x| x * x).sqrt().max(SMALLEST_NORM)
}

#[inline(always)]
fn softmax(row: &mut [f32]) {
    let largest = largest_of(row);
    row.iter_mut().for_each(|x| *x = exp(*x - largest));
    let factor = 1.0 / sum_of(row, |x| x);
    row.iter_mut().for_each(|x| *x *= factor);
}
