//! Normalisation, modulation and activation.

use hmar_error::{Code, Error, Result};
use hmar_ops::{LayerInput, Modulation, Normalized, Rows};

use crate::backend::CudaBackend;
use crate::bias::CudaBias;
use crate::buffer::CudaBuffer;
use crate::features::{CudaFeatures, Held};
use crate::fp8;
use crate::kernels::{Place, Within};

const THREADS: usize = 256;

/// See [`hmar_ops::Backend::silu`].
pub(crate) fn silu(
    backend: &CudaBackend,
    length: usize,
    input: &CudaBuffer<f32>,
    out: &mut CudaFeatures,
) -> Result<()> {
    let launch = backend.launch_features("silu", length.div_ceil(THREADS), THREADS)?;
    // SAFETY: both hold `length` elements.
    unsafe { launch.read(input).write(out).count(length).submit() }
}

/// See [`hmar_ops::Backend::add_to_each`].
pub(crate) fn add_to_each(
    backend: &CudaBackend,
    slots: usize,
    width: usize,
    addend: &CudaBuffer<f32>,
    out: &mut CudaBuffer<f32>,
) -> Result<()> {
    let length = slots * width;
    let launch = backend.launch("add_to_each", length.div_ceil(THREADS), THREADS)?;
    // SAFETY: `out` holds `length` elements, `addend` `width`.
    unsafe { launch.read(addend).write(out).count(width).count(length).submit() }
}

/// Threads of a row's block in `modulated_norm`, and numbers of it that each takes at a time.
const ROW_THREADS: usize = 128;
const FOUR: usize = 4;

/// How often at most.
const MOST_FOURS: usize = 5;

/// How many fours of a row each thread takes: kernels are named after it.
fn fours(width: usize) -> Result<usize> {
    let most = MOST_FOURS * ROW_THREADS * FOUR;
    if width.is_multiple_of(FOUR) && width <= most {
        return Ok(width.div_ceil(ROW_THREADS * FOUR));
    }
    Err(Error::new(Code::ConfigInvalid, "The model's width is not one the GPU's kernels take.")
        .found(width)
        .expected(format!("a multiple of {FOUR}, at most {most}"))
        .remedy("Use the CPU."))
}

/// See [`hmar_ops::Backend::modulated_norm`].
pub(crate) fn modulated_norm(
    backend: &CudaBackend,
    rows: Rows<'_, CudaBackend>,
    width: usize,
    input: &CudaBuffer<f32>,
    scale: Modulation<'_, CudaBackend>,
    shift: Modulation<'_, CudaBackend>,
    LayerInput { features: out, reader }: LayerInput<'_, CudaBackend>,
) -> Result<()> {
    let name = format!("modulated_norm_{}", fours(width)?);
    let launch = if fp8::is_e4m3(reader) {
        out.hold(Held::E4m3 { rows: rows.count(), norms: true });
        backend.launch(&format!("{name}_e4m3"), rows.count(), ROW_THREADS)?
    } else {
        out.hold(Held::Features);
        backend.launch_features(&name, rows.count(), ROW_THREADS)?
    };
    let launch = launch.overlapping().read(input).read(scale.table).read(shift.table).read(rows.slots);
    let launch = launch.write(out).count(rows.per_sequence).count(width);
    // SAFETY: input and output hold the rows; every slot's vectors lie within the tables, whose strides are equal.
    unsafe { launch.count(scale.stride).count(scale.offset).count(shift.offset).submit() }
}

/// Some rows of a product on their way into the residual stream.
pub(crate) struct GatedRows<'a> {
    /// `[count, width]` in bfloat16.
    pub(crate) product: &'a CudaBuffer<u8>,
    pub(crate) bias: &'a CudaBias,
    /// The first row's place in the residual stream.
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) width: usize,
}

/// `residual += gate · (product + bias)` for some rows, and what comes next of their sums.
pub(crate) fn add_gated(
    backend: &CudaBackend,
    GatedRows { product, bias, first, count, width }: GatedRows<'_>,
    rows: Rows<'_, CudaBackend>,
    gate: Modulation<'_, CudaBackend>,
    residual: &mut CudaBuffer<f32>,
    next: Option<&mut Normalized<'_, CudaBackend>>,
) -> Result<()> {
    let e4m3 = next.as_ref().is_some_and(|next| fp8::is_e4m3(next.out.reader));
    let name = format!("gated_norm_{}_{}", fours(width)?, if e4m3 { "e4m3" } else { "bf16" });
    let launch = backend.launch(&name, count, ROW_THREADS)?.overlapping();
    let gates = gate.table.at(gate.offset * size_of::<f32>());
    let launch = launch.read(product).read(bias).read(&gates).read(rows.slots).write(residual);
    let (launch, [stride, scale, shift]) = match next {
        Some(Normalized { scale, shift, out }) => {
            out.features.hold(if e4m3 {
                Held::E4m3 { rows: rows.count(), norms: true }
            } else {
                Held::Features
            });
            let launch = launch.read(scale.table).read(shift.table).write(out.features);
            (launch, [scale.stride, scale.offset, shift.offset])
        }
        None => {
            let none = None::<&Place>;
            (launch.read_optional(none).read_optional(none).read_optional(none), [0; 3])
        }
    };
    let launch = launch.count(rows.count()).count(first).count(rows.per_sequence).count(width);
    // SAFETY: the product holds `count` rows, the residual and the output all; vectors lie within their tables.
    unsafe { launch.count(gate.stride).count(stride).count(scale).count(shift).submit() }
}
