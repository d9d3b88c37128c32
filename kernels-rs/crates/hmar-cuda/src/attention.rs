//! Multi-head attention, and the copies that fill its caches.

mod forward;
mod plain;
mod schedule;
mod tiles;
mod wide;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hmar_error::{Code, Error, Result};
use hmar_ops::{AttentionShape, KeysValues, Precision, RowsCopy, Scores, Span};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;
use crate::features::{self, CudaFeatures};
use crate::kernels::{Place, Within};

use self::forward::{Inputs, Plan};
use self::tiles::Sight;

pub use self::forward::AttentionForward;
pub use self::tiles::Pattern;

/// Queries of a block of `attention_64_bf16`, and its threads.
const QUERIES: usize = 64;
const THREADS: usize = 128;

/// Its shared memory: queries, two tiles of keys and of values, 72 elements a row, and two factors a row.
const SHARED: usize = QUERIES * (5 * 72 * 2 + 2 * 4);

/// Queries of a block of the kernels for one wide head, and the threads of its 8 warps.
const WIDE_QUERIES: usize = 16;
const WIDE_THREADS: usize = 256;

/// Head widths there is such a kernel for.
const WIDE: [usize; 2] = [128, 640];

/// Their shared memory: scores and weights of 256 keys, 32 keys' values, three numbers a query.
fn wide_shared(head_width: usize) -> usize {
    WIDE_QUERIES * 264 * (4 + 2) + 32 * (head_width + 8) * 2 + 3 * WIDE_QUERIES * 4
}

/// Threads of the plain kernel.
const PLAIN_THREADS: usize = 128;

/// See [`hmar_ops::Backend::attention`].
pub(crate) fn attention(
    backend: &CudaBackend,
    shape: AttentionShape<'_>,
    qkv: &CudaFeatures,
    keys_values: KeysValues<'_, CudaBackend>,
    scores: Scores<'_, CudaBackend>,
    out: &mut CudaFeatures,
) -> Result<()> {
    let (Some(first), Some(last)) = (shape.spans.first(), shape.spans.last()) else { return Ok(()) };
    let start = first.queries.start;
    let out_rows = last.queries.end - start;
    let (factors, scale) = match scores {
        Scores::Normalized(factors) => (Some(factors), 1.0),
        Scores::Scaled(scale) => (None, scale),
    };
    let keys = Keys::of(backend, qkv, shape.rows, shape.heads * shape.head_width, keys_values);
    let plans = backend.attention_plans.as_ref().filter(|_| forward::is_there(backend));
    if let Some(plans) = plans.filter(|_| shape.head_width == forward::HEAD_WIDTH) {
        let plan = plans.get(backend, &shape)?;
        let [sequences, queries, heads] = plan.shape();
        let inputs = Inputs::new([sequences, shape.rows, queries, heads], qkv, keys, scores, out, None);
        return plan.run(backend, inputs);
    }
    let beside = matches!(keys_values, KeysValues::BesideQueries);
    let is_wide =
        backend.precision() == Precision::Bf16 && factors.is_none() && WIDE.contains(&shape.head_width);
    if beside && is_wide && wide::attention(backend, &shape, scale, qkv, out)? {
        return Ok(());
    }
    let one = Attention { backend, shape: &shape, qkv, keys, factors, scale, out_rows, start };
    shape.spans.iter().try_for_each(|span| match (backend.precision(), factors) {
        (Precision::Bf16, _) if shape.head_width == 64 => one.narrow(span, out),
        _ if beside && is_wide => one.wide(span, out),
        _ => one.plain(span, out),
    })
}

/// Where keys are, and behind every row's keys its values.
struct Keys {
    keys: Place,
    /// Rows of each sequence.
    rows: usize,
    /// Elements from row to row.
    stride: usize,
}

impl Keys {
    /// Those of `qkv [sequences, rows, 3, width]`, or those that are cached.
    fn of(
        backend: &CudaBackend,
        qkv: &CudaFeatures,
        rows: usize,
        width: usize,
        keys_values: KeysValues<'_, CudaBackend>,
    ) -> Self {
        match keys_values {
            KeysValues::BesideQueries => {
                let keys = qkv.at(width * features::width(backend.precision()));
                Keys { keys, rows, stride: 3 * width }
            }
            KeysValues::Cached { rows, capacity } => {
                Keys { keys: rows.at(0), rows: capacity, stride: 2 * width }
            }
        }
    }
}

/// What is planned for: spans, sequences, heads.
type PlanKey = (Vec<Span>, usize, usize);

/// Plans of the attentions seen so far. They are small, and a model has a few dozen of them.
#[derive(Default)]
pub(crate) struct Plans(Mutex<HashMap<PlanKey, Arc<Plan>>>);

impl Plans {
    /// The plan of a shape, made at the first call: a recording, which may not wait for the host, finds it.
    fn get(&self, backend: &CudaBackend, shape: &AttentionShape<'_>) -> Result<Arc<Plan>> {
        let key = (shape.spans.to_vec(), shape.sequences, shape.heads);
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&key) {
            return Ok(plan.clone());
        }
        let sight = Sight::of_spans(shape.spans);
        let plan = Arc::new(Plan::new(backend, &sight, shape.sequences, shape.heads)?);
        plans.insert(key, plan.clone());
        Ok(plan)
    }
}

/// What the spans of an attention share.
struct Attention<'a> {
    backend: &'a CudaBackend,
    shape: &'a AttentionShape<'a>,
    qkv: &'a CudaFeatures,
    keys: Keys,
    factors: Option<&'a CudaBuffer<f32>>,
    scale: f32,
    out_rows: usize,
    /// The first span's first query.
    start: usize,
}

impl Attention<'_> {
    fn narrow(&self, span: &Span, out: &mut CudaFeatures) -> Result<()> {
        let queries = span.queries.len();
        let grid = (queries.div_ceil(QUERIES), self.shape.heads, self.shape.sequences);
        let launch = self.backend.launch("attention_64_bf16", grid, THREADS)?.shared(SHARED).overlapping();
        let launch = launch.read(self.qkv).read(&self.keys.keys).read_optional(self.factors);
        let launch = launch.value(self.scale).write(out).count(self.shape.rows);
        let launch = launch.count(self.keys.rows).count(self.keys.stride);
        let launch = launch.count(span.queries.start).count(span.queries.end);
        let launch = launch.count(span.keys.start).count(span.keys.end);
        // SAFETY: spans lie within the rows of queries and of keys, their queries within those of `out`.
        unsafe { launch.count(self.out_rows).count(self.start).submit() }
    }

    fn wide(&self, span: &Span, out: &mut CudaFeatures) -> Result<()> {
        let grid = (span.queries.len().div_ceil(WIDE_QUERIES), self.shape.heads, self.shape.sequences);
        let name = format!("attention_{}_bf16", self.shape.head_width);
        let launch =
            self.backend.launch(&name, grid, WIDE_THREADS)?.shared(wide_shared(self.shape.head_width));
        let launch = launch.read(self.qkv).value(self.scale).write(out);
        let launch = launch.count(self.shape.rows).count(span.queries.start).count(span.queries.end);
        let launch = launch.count(span.keys.start).count(span.keys.end);
        // SAFETY: as in `narrow`.
        unsafe { launch.count(self.out_rows).count(self.start).submit() }
    }

    fn plain(&self, span: &Span, out: &mut CudaFeatures) -> Result<()> {
        let head_width = self.shape.head_width;
        let shared = (head_width + span.keys.len()) * size_of::<f32>();
        if shared > self.backend.context.shared_limit - 1024 {
            return Err(Error::new(
                Code::ConfigInvalid,
                "A scale has more tokens than the GPU's kernels take in float32.",
            )
            .found(span.keys.len())
            .remedy("Use dtype 'bf16', or the CPU."));
        }
        let grid = (span.queries.len(), self.shape.heads, self.shape.sequences);
        let launch = self.backend.launch_features("attention_plain", grid, PLAIN_THREADS)?.shared(shared);
        let launch = launch.read(self.qkv).read(&self.keys.keys).read_optional(self.factors);
        let launch = launch.value(self.scale).write(out).count(self.shape.rows);
        let launch = launch.count(self.keys.rows).count(self.keys.stride);
        let launch = launch.count(head_width).count(span.queries.start);
        let launch = launch.count(span.keys.start).count(span.keys.end);
        // SAFETY: as in `narrow`; the shared memory holds a query and its scores.
        unsafe { launch.count(self.out_rows).count(self.start).submit() }
    }
}

/// Bytes that a thread of `copy_rows` copies at a time, and the threads of a block, which copies a row.
const PIECE: usize = 16;
const COPY_THREADS: usize = 128;

/// See [`hmar_ops::Backend::copy_rows`].
pub(crate) fn copy_rows(
    backend: &CudaBackend,
    copy: RowsCopy,
    source: &CudaFeatures,
    target: &mut CudaFeatures,
) -> Result<()> {
    let RowsCopy { sequences, rows, columns, from, to } = copy;
    let pieces = |columns: usize| {
        let bytes = columns * features::width(backend.precision());
        assert!(bytes.is_multiple_of(PIECE), "columns come in multiples of 8");
        bytes / PIECE
    };
    if rows == 0 {
        return Ok(());
    }
    let launch = backend.launch("copy_rows", (rows, sequences), COPY_THREADS)?;
    let mut launch = launch.read(source).write(target).count(pieces(columns));
    for place in [from, to] {
        launch = launch.count(place.rows).count(pieces(place.columns));
        launch = launch.count(place.row).count(pieces(place.column));
    }
    // SAFETY: both places lie within their buffers, as the trait asks.
    unsafe { launch.submit() }
}
