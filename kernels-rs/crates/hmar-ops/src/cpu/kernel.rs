//! The innermost products: a block of packed rows times one panel of weights.
//!
//! Three ways to do it, chosen once by what the processor can: AVX-512 in float32, AVX-512 in bfloat16, and the
//! `gemm` crate everywhere else. Each output is one sum in ascending order of depth, whatever the number of
//! rows, so results do not depend on the batch.

use half::bf16;
use half::slice::HalfFloatSliceExt;

use super::buffer::CpuBuffer;
use super::matrix::PANEL;
use crate::Precision;

/// Rows of a register tile: 12×2 accumulators leave room for two weights and an input.
const TILE_ROWS: usize = 12;

/// Rows packed at a time; they and one panel fit the second-level cache.
pub(super) const BLOCK_ROWS: usize = 96;

/// Bytes between packed rows. Odd in cache lines, so that rows do not fall on one another's cache sets; a
/// constant, so that a tile's rows are reached from one pointer.
const ROW_STRIDE: usize = 97 * 64;

/// Bytes of a packed row that hold inputs.
const ROW_BYTES: usize = 96 * 64;

/// What the processor multiplies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instructions {
    Avx512Bf16,
    Avx512,
    Portable,
}

impl Instructions {
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                return if is_x86_feature_detected!("avx512bf16") { Self::Avx512Bf16 } else { Self::Avx512 };
            }
        }
        Self::Portable
    }

    /// What the inputs of a product are rounded to.
    fn input_precision(self, weights: Precision) -> Precision {
        if self == Self::Avx512Bf16 { weights } else { Precision::F32 }
    }

    /// Depth multiplied at a time: as much as a packed row holds, split evenly. A function of the depth alone:
    /// where sums are cut must not depend on the batch.
    pub(super) fn depth_step(self, weights: Precision, depth: usize) -> usize {
        let capacity = ROW_BYTES
            / match self.input_precision(weights) {
                Precision::F32 => size_of::<f32>(),
                Precision::Bf16 => size_of::<bf16>(),
            };
        depth.div_ceil(depth.div_ceil(capacity).max(1)).next_multiple_of(2)
    }
}

/// Rows packed for one product, and the float32 copy of a panel where the processor needs one. One a thread.
pub(super) struct Packed {
    instructions: Instructions,
    rows: CpuBuffer<u8>,
    widened: CpuBuffer<f32>,
}

/// A panel's weights for the packed depth.
#[derive(Clone, Copy)]
pub(super) enum PanelSlice<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl Packed {
    pub(super) fn new(instructions: Instructions) -> Self {
        let zeroed = "a thread's packing memory fits";
        Packed {
            instructions,
            rows: CpuBuffer::zeroed(BLOCK_ROWS * ROW_STRIDE).expect(zeroed),
            widened: CpuBuffer::zeroed(ROW_BYTES / size_of::<f32>() * PANEL).expect(zeroed),
        }
    }

    /// Writes part of a row, from depth `at` of the packed range on, rounded as the product with `weights` wants.
    #[inline]
    pub(super) fn put(&mut self, weights: Precision, row: usize, at: usize, values: &[f32]) {
        let start = row * ROW_STRIDE;
        let bytes = &mut self.rows.as_mut_slice()[start..start + ROW_BYTES];
        match self.instructions.input_precision(weights) {
            Precision::F32 => {
                bytemuck::cast_slice_mut::<u8, f32>(bytes)[at..at + values.len()].copy_from_slice(values);
            }
            Precision::Bf16 => {
                let out = &mut bytemuck::cast_slice_mut::<u8, bf16>(bytes)[at..at + values.len()];
                #[cfg(target_arch = "x86_64")]
                // SAFETY: rounding inputs to bfloat16 happens only where AVX512-BF16 was detected.
                unsafe {
                    avx512::round_to_bf16(values, out);
                }
                #[cfg(not(target_arch = "x86_64"))]
                out.convert_from_f32_slice(values);
            }
        }
    }

    /// Writes zeros instead: padding.
    #[inline]
    pub(super) fn put_zeros(&mut self, weights: Precision, row: usize, at: usize, count: usize) {
        let size = match self.instructions.input_precision(weights) {
            Precision::F32 => size_of::<f32>(),
            Precision::Bf16 => size_of::<bf16>(),
        };
        let start = row * ROW_STRIDE + at * size;
        self.rows.as_mut_slice()[start..start + count * size].fill(0);
    }

    /// `out[rows, PANEL] (+)= packed rows · panel`.
    pub(super) fn multiply(
        &mut self,
        rows: usize,
        depth: usize,
        panel: PanelSlice<'_>,
        accumulate: bool,
        out: &mut [f32],
    ) {
        assert!(rows <= BLOCK_ROWS && out.len() >= rows * PANEL && depth.is_multiple_of(2));
        match (self.instructions, panel) {
            #[cfg(target_arch = "x86_64")]
            (Instructions::Avx512Bf16, PanelSlice::Bf16(weights)) => {
                assert!(weights.len() >= depth * PANEL && depth * size_of::<bf16>() <= ROW_BYTES);
                // SAFETY: the features were detected; lengths are asserted above.
                unsafe {
                    avx512::block_bf16(rows, depth / 2, &self.rows, weights.as_ptr().cast(), accumulate, out);
                }
            }
            #[cfg(target_arch = "x86_64")]
            (Instructions::Avx512 | Instructions::Avx512Bf16, PanelSlice::F32(weights)) => {
                assert!(weights.len() >= depth * PANEL && depth * size_of::<f32>() <= ROW_BYTES);
                // SAFETY: the features were detected; lengths are asserted above.
                unsafe {
                    avx512::block_f32(rows, depth, &self.rows, weights.as_ptr().cast(), accumulate, out);
                }
            }
            (_, PanelSlice::F32(weights)) => portable(rows, depth, &self.rows, weights, accumulate, out),
            (_, PanelSlice::Bf16(weights)) => {
                let widened = &mut self.widened.as_mut_slice()[..depth * PANEL];
                widen(&weights[..depth * PANEL], widened);
                portable(rows, depth, &self.rows, widened, accumulate, out);
            }
        }
    }
}

/// Undoes the pairing of bfloat16 panels: `[depth/2][PANEL][2]` → `[depth][PANEL]` in float32.
fn widen(pairs: &[bf16], out: &mut [f32]) {
    for (pair, rows) in pairs.chunks_exact(2 * PANEL).zip(out.chunks_exact_mut(2 * PANEL)) {
        let (even, odd) = rows.split_at_mut(PANEL);
        for output in 0..PANEL {
            even[output] = pair[2 * output].to_f32();
            odd[output] = pair[2 * output + 1].to_f32();
        }
    }
}

/// The product by the `gemm` crate.
fn portable(
    rows: usize,
    depth: usize,
    packed: &CpuBuffer<u8>,
    panel: &[f32],
    accumulate: bool,
    out: &mut [f32],
) {
    assert!(panel.len() >= depth * PANEL && depth * size_of::<f32>() <= ROW_BYTES);
    // `gemm` cuts its sums by the size of the product: at most 64 rows and more than one keep to one way.
    const ROWS: usize = BLOCK_ROWS / 2;
    for (i, out) in out[..rows * PANEL].chunks_mut(ROWS * PANEL).enumerate() {
        let packed = packed.as_slice()[i * ROWS * ROW_STRIDE..].as_ptr().cast::<f32>();
        if out.len() == PANEL {
            let mut pair = [0.0; 2 * PANEL];
            pair[..PANEL].copy_from_slice(out);
            // SAFETY: a chunk starts at row 0 or at ROWS, which packed memory has a row after.
            unsafe { gemm_rows(2, depth, packed, panel, accumulate, pair.as_mut_ptr()) };
            out.copy_from_slice(&pair[..PANEL]);
        } else {
            // SAFETY: `out` holds the chunk's rows, `packed` at least as many.
            unsafe { gemm_rows(out.len() / PANEL, depth, packed, panel, accumulate, out.as_mut_ptr()) };
        }
    }
}

/// # Safety
/// `packed` has `rows` rows ROW_STRIDE apart, `panel` `depth·PANEL` and `out` `rows·PANEL` elements.
unsafe fn gemm_rows(
    rows: usize,
    depth: usize,
    packed: *const f32,
    panel: &[f32],
    accumulate: bool,
    out: *mut f32,
) {
    let alpha = if accumulate { 1.0 } else { 0.0 };
    let (row, column) = (PANEL as isize, 1);
    let stride = (ROW_STRIDE / size_of::<f32>()) as isize;
    // SAFETY: promised by the caller.
    unsafe {
        gemm::gemm(
            rows,
            PANEL,
            depth,
            out,
            column,
            row,
            accumulate,
            packed,
            column,
            stride,
            panel.as_ptr(),
            column,
            row,
            alpha,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{CpuBuffer, HalfFloatSliceExt, PANEL, ROW_STRIDE, TILE_ROWS, bf16};

    /// Defines the product of a block of packed rows with a panel for one way of multiplying. A step is four bytes
    /// of a row: one float32, or two bfloat16.
    macro_rules! block_product {
        ($block:ident, $tile:ident, $features:literal, $spread:expr, $multiply_add:expr) => {
            /// A block of packed rows times a panel, tile by tile.
            ///
            /// # Safety
            /// The features are there; the panel holds `steps·PANEL` steps, the packed rows `steps` each, `out`
            /// `rows·PANEL` floats.
            pub(super) unsafe fn $block(
                rows: usize,
                steps: usize,
                packed: &CpuBuffer<u8>,
                panel: *const f32,
                accumulate: bool,
                out: &mut [f32],
            ) {
                for (i, out) in out[..rows * PANEL].chunks_mut(TILE_ROWS * PANEL).enumerate() {
                    let input = packed.as_slice()[i * TILE_ROWS * ROW_STRIDE..].as_ptr();
                    let height = out.len() / PANEL;
                    let out = out.as_mut_ptr();
                    // SAFETY: promised by the caller; the tile's rows lie within the block.
                    unsafe {
                        match height {
                            1 => $tile::<1>(steps, input, panel, accumulate, out),
                            2 => $tile::<2>(steps, input, panel, accumulate, out),
                            3 => $tile::<3>(steps, input, panel, accumulate, out),
                            4 => $tile::<4>(steps, input, panel, accumulate, out),
                            5 => $tile::<5>(steps, input, panel, accumulate, out),
                            6 => $tile::<6>(steps, input, panel, accumulate, out),
                            7 => $tile::<7>(steps, input, panel, accumulate, out),
                            8 => $tile::<8>(steps, input, panel, accumulate, out),
                            9 => $tile::<9>(steps, input, panel, accumulate, out),
                            10 => $tile::<10>(steps, input, panel, accumulate, out),
                            11 => $tile::<11>(steps, input, panel, accumulate, out),
                            _ => $tile::<12>(steps, input, panel, accumulate, out),
                        }
                    }
                }
            }

            #[target_feature(enable = $features)]
            unsafe fn $tile<const ROWS: usize>(
                steps: usize,
                input: *const u8,
                panel: *const f32,
                accumulate: bool,
                out: *mut f32,
            ) {
                // SAFETY: the block's caller promises the lengths; every access below stays within them.
                unsafe {
                    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
                    for step in 0..steps {
                        let left = _mm512_loadu_ps(panel.add(step * PANEL));
                        let right = _mm512_loadu_ps(panel.add(step * PANEL + 16));
                        for (row, sum) in sums.iter_mut().enumerate() {
                            let spread = $spread(input.add(row * ROW_STRIDE + step * 4));
                            sum[0] = $multiply_add(sum[0], spread, left);
                            sum[1] = $multiply_add(sum[1], spread, right);
                        }
                    }
                    for (row, sum) in sums.iter().enumerate() {
                        for (half, &sum) in sum.iter().enumerate() {
                            let target = out.add(row * PANEL + half * 16);
                            let before =
                                if accumulate { _mm512_loadu_ps(target) } else { _mm512_setzero_ps() };
                            _mm512_storeu_ps(target, _mm512_add_ps(before, sum));
                        }
                    }
                }
            }
        };
    }

    block_product!(
        block_f32,
        tile_f32,
        "avx512f",
        |input: *const u8| _mm512_set1_ps(input.cast::<f32>().read_unaligned()),
        |sum, input, weight| _mm512_fmadd_ps(input, weight, sum)
    );

    block_product!(
        block_bf16,
        tile_bf16,
        "avx512f,avx512bf16",
        |input: *const u8| _mm512_set1_epi32(input.cast::<i32>().read_unaligned()),
        |sum, input: __m512i, weight: __m512| _mm512_dpbf16_ps(
            sum,
            std::mem::transmute::<__m512i, __m512bh>(input),
            std::mem::transmute::<__m512, __m512bh>(weight)
        )
    );

    /// Rounds to nearest even, sixteen at a time.
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw")]
    pub(super) unsafe fn round_to_bf16(values: &[f32], out: &mut [bf16]) {
        let whole = values.len() / 16 * 16;
        for (values, out) in values.chunks_exact(16).zip(out.chunks_exact_mut(16)) {
            // SAFETY: both chunks hold sixteen elements.
            unsafe {
                let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr()));
                _mm256_storeu_si256(
                    out.as_mut_ptr().cast(),
                    std::mem::transmute::<__m256bh, __m256i>(rounded),
                );
            }
        }
        out[whole..].convert_from_f32_slice(&values[whole..]);
    }
}
