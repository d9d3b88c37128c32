//! Guidance, filters, the draw, and what is masked again.

use hmar_error::{Code, Error, Result};
use hmar_ops::{DrawSettings, TokenDraw};

use crate::backend::CudaBackend;
use crate::buffer::CudaBuffer;

/// Threads of a block of the larger kernels here.
const MOST_THREADS: usize = 512;

/// Positions a thread of `keep_least_confident` and `open_least_confident` looks after.
const POSITIONS: usize = 8;

/// Threads of blocks without order among them.
const THREADS: usize = 256;

/// Tokens a thread of `draw_tokens` looks after, at most.
const MOST_TOKENS: usize = 16;

/// How many it does.
fn tokens_of_a_thread(vocabulary: usize) -> usize {
    if vocabulary <= 1024 { 4 } else { MOST_TOKENS }
}

/// Rows from which on two kernels are faster, of which the first takes fewer registers and so more rows at once.
const MANY_ROWS: usize = 1024;

fn threads(what: &str, count: usize, of_a_thread: usize) -> Result<usize> {
    let threads = count.div_ceil(of_a_thread).next_multiple_of(32);
    if threads <= MOST_THREADS {
        return Ok(threads);
    }
    let most = MOST_THREADS * of_a_thread;
    Err(Error::new(Code::ConfigInvalid, format!("The model has more {what} than the GPU's kernels take."))
        .found(count)
        .expected(format!("at most {most}"))
        .remedy("Use the CPU."))
}

/// See [`hmar_ops::Backend::draw_tokens`].
pub(crate) fn draw_tokens(
    backend: &CudaBackend,
    draw: TokenDraw,
    settings: &CudaBuffer<DrawSettings>,
    logits: &mut CudaBuffer<f32>,
    only: Option<&CudaBuffer<u8>>,
    tokens: &mut CudaBuffer<u32>,
    confidence: &mut CudaBuffer<f32>,
) -> Result<()> {
    let TokenDraw { images, positions, vocabulary, halves } = draw;
    let items = tokens_of_a_thread(vocabulary);
    let threads = threads("codes", vocabulary, items)?;
    let rows = images * positions;
    // The logits, apart by the threads they belong to, and the tokens that top-k keeps.
    let staged = vocabulary + vocabulary.div_ceil(items) + 1;
    let shared = staged * size_of::<f32>() + vocabulary * size_of::<u16>();
    let mut submit = |kernel: &str, blocks: usize| {
        let launch = backend.launch(kernel, blocks, threads)?.shared(shared).overlapping();
        let launch = launch.write(logits).read_optional(only).read(settings).write(tokens).write(confidence);
        // SAFETY: the logits hold `halves` times `images·positions` rows of `vocabulary`, the others as many elements; a row
        // and a number for every thread fit in the shared memory.
        unsafe { launch.count(rows).count(positions).count(vocabulary).count(halves).submit() }
    };
    if items == MOST_TOKENS && rows >= MANY_ROWS {
        submit("draw_tokens_few", rows)?;
        return submit("draw_tokens_left", backend.context.multiprocessors);
    }
    submit(&format!("draw_tokens_{items}"), rows)
}

/// See [`hmar_ops::Backend::keep_least_confident`].
pub(crate) fn keep_least_confident(
    backend: &CudaBackend,
    images: usize,
    positions: usize,
    settings: &CudaBuffer<DrawSettings>,
    confidence: &CudaBuffer<f32>,
    mask: &mut CudaBuffer<u8>,
) -> Result<()> {
    let threads = threads("positions in a scale", positions, POSITIONS)?;
    let launch = backend.launch("keep_least_confident", images, threads)?.overlapping();
    // SAFETY: confidence and mask hold `images·positions` elements.
    unsafe { launch.read(confidence).write(mask).read(settings).count(positions).submit() }
}

/// See [`hmar_ops::Backend::open_least_confident`].
pub(crate) fn open_least_confident(
    backend: &CudaBackend,
    images: usize,
    positions: usize,
    settings: &CudaBuffer<DrawSettings>,
    confidence: &CudaBuffer<f32>,
    mask: &mut CudaBuffer<u8>,
) -> Result<()> {
    let threads = threads("positions in a scale", positions, POSITIONS)?;
    let launch = backend.launch("open_least_confident", images, threads)?.overlapping();
    // SAFETY: confidence and mask hold `images·positions` elements.
    unsafe { launch.read(confidence).write(mask).read(settings).count(positions).submit() }
}

/// See [`hmar_ops::Backend::add_logarithm`].
pub(crate) fn add_logarithm(
    backend: &CudaBackend,
    length: usize,
    input: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let launch = backend.launch("add_logarithm", length.div_ceil(THREADS), THREADS)?.overlapping();
    // SAFETY: both hold `length` elements.
    unsafe { launch.read(input).write(out).count(length).submit() }
}

/// See [`hmar_ops::Backend::soften`].
pub(crate) fn soften(
    backend: &CudaBackend,
    draw: TokenDraw,
    settings: &CudaBuffer<DrawSettings>,
    logits: &mut CudaBuffer<f32>,
    codebook: &CudaBuffer<f32>,
    width: usize,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let TokenDraw { images, positions, vocabulary, .. } = draw;
    let launch = backend.launch("soften", images * positions, THREADS)?.shared(vocabulary * size_of::<f32>());
    let launch = launch.read(logits).read(codebook).read(settings).write(out);
    // SAFETY: there are `images·positions` rows of logits and of `out`; the shared memory holds one of logits.
    unsafe { launch.count(positions).count(vocabulary).count(width).submit() }
}

/// See [`hmar_ops::Backend::store_tokens`].
pub(crate) fn store_tokens(
    backend: &CudaBackend,
    images: usize,
    positions: usize,
    tokens: &CudaBuffer<u32>,
    maps: &mut CudaBuffer<u32>,
    stride: usize,
    at: usize,
) -> Result<()> {
    let count = images * positions;
    let launch = backend.launch("store_tokens", count.div_ceil(THREADS), THREADS)?.overlapping();
    // SAFETY: there are `count` tokens; a map has `stride` places, of which `positions` from `at` on are written.
    unsafe { launch.read(tokens).write(maps).count(positions).count(stride).count(at).count(count).submit() }
}
