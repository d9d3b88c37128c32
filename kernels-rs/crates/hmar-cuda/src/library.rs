//! Products by cuBLASLt, for many rows: its plans are made once for every size.

mod plan;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{self, cublasLtHandle_t};
use cudarc::driver::sys::CUdeviceptr;
use hmar_error::{Code, Error, Result};

use self::plan::Plan;
use crate::context::Context;

/// Bytes the library may use beside the operands; more than 32 MiB makes no product faster.
pub(crate) const WORKSPACE: usize = 32 << 20;

/// The version from which on rows and outputs have scales of their own.
const SCALES_ROWS: usize = 120_900;

/// What follows a product in the same kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    /// Bfloat16, nothing added.
    Product,
    /// Float32, a bias of float32 added.
    BiasedFloat32,
    /// A bias of bfloat16 added; bfloat16.
    Features,
    /// The same, and GELU in its tanh form.
    Gelu,
}

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Factors {
    Bf16,
    /// E4m3 with a scale a row of the input and one an output.
    E4m3,
}

/// Dimensions, factors and ending of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) factors: Factors,
    pub(crate) ending: Ending,
}

/// Where the operands of a product are: `out[rows, outputs] = input[rows, inputs] · weight[outputs, inputs]ᵀ`.
pub(crate) struct Operands {
    pub(crate) input: CUdeviceptr,
    pub(crate) weight: CUdeviceptr,
    pub(crate) bias: CUdeviceptr,
    pub(crate) out: CUdeviceptr,
    /// [`WORKSPACE`] bytes that nothing else uses meanwhile.
    pub(crate) workspace: CUdeviceptr,
    /// Of the rows of the input, and of the outputs, where factors have them.
    pub(crate) scales: Option<[CUdeviceptr; 2]>,
}

/// The library, opened on a device.
pub(crate) struct Library {
    handle: cublasLtHandle_t,
    plans: Mutex<HashMap<Size, Plan>>,
    version: usize,
    context: Arc<Context>,
}

// SAFETY: the library lets any thread use its handle; plans are behind a lock.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Opens cuBLASLt, if it is there.
    ///
    /// # Errors
    /// Those of the library.
    pub(crate) fn open(context: &Arc<Context>) -> Result<Option<Self>> {
        // SAFETY: opens the library, which has no side effects beyond that.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        context.enter()?;
        let handle = result::create_handle().map_err(failed)?;
        // SAFETY: asks for a number.
        let version = unsafe { sys::cublasLtGetVersion() };
        Ok(Some(Library { handle, plans: Mutex::default(), version, context: context.clone() }))
    }

    /// Whether it takes [`Factors::E4m3`].
    pub(crate) fn scales_rows(&self) -> bool {
        self.version >= SCALES_ROWS
    }

    /// Queues a product. The first of a size also plans it, which a recording does not mind. With `row_invariant`, a row's
    /// bits depend on neither the rows beside it nor their number.
    pub(crate) fn multiply(&self, size: Size, operands: &Operands, row_invariant: bool) -> Result<()> {
        self.context.enter()?;
        let mut plans = self.plans();
        let plan = match plans.entry(size) {
            Entry::Occupied(plan) => {
                plan.get().point_to(operands)?;
                plan.into_mut()
            }
            Entry::Vacant(place) => place.insert(Plan::new(self.handle, size, operands, row_invariant)?),
        };
        let (one, zero) = (1f32, 0f32);
        let pointer = |address: CUdeviceptr| address as *mut c_void;
        // SAFETY: the operands have the plan's dimensions, as the caller says; scalars are read before the call ends.
        let answer = unsafe {
            result::matmul(
                self.handle,
                plan.description,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                pointer(operands.weight),
                plan.layouts.weight,
                pointer(operands.input),
                plan.layouts.input,
                pointer(operands.out),
                plan.layouts.out,
                pointer(operands.out),
                plan.layouts.out,
                &plan.algorithm,
                pointer(operands.workspace),
                WORKSPACE,
                self.context.stream().cast(),
            )
        };
        answer.map_err(failed)
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<Size, Plan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.plans().clear();
        // SAFETY: nothing uses the handle any more.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

fn failed(CublasError(status): CublasError) -> Error {
    Error::new(Code::Internal, "cuBLASLt could not multiply.").found(format!("{status:?}"))
}
