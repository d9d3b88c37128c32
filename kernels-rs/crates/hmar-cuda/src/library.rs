//! Products by cuBLASLt, for many rows: its plans are made once for every size.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t, cublasLtEpilogue_t, cublasLtHandle_t, cublasLtMatmulAlgo_t,
    cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulPreferenceAttributes_t,
    cublasLtMatrixLayout_t, cudaDataType,
};
use cudarc::driver::sys::CUdeviceptr;
use hmar_error::{Code, Error, Result};

use crate::buffer::CudaBuffer;
use crate::context::Context;
use crate::kernels::DevicePointer;

/// Bytes the library may use beside the operands; more than 32 MiB makes no product faster.
const WORKSPACE: usize = 32 << 20;

/// `CUBLAS_OP_T`.
const TRANSPOSED: i32 = 1;

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

/// Dimensions and ending of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) ending: Ending,
}

/// Where the operands of a product are: `out[rows, outputs] = input[rows, inputs] · weight[outputs, inputs]ᵀ`.
pub(crate) struct Operands {
    pub(crate) input: CUdeviceptr,
    pub(crate) weight: CUdeviceptr,
    pub(crate) bias: CUdeviceptr,
    pub(crate) out: CUdeviceptr,
}

/// The library, opened on a device.
pub(crate) struct Library {
    handle: cublasLtHandle_t,
    plans: Mutex<HashMap<Size, Plan>>,
    workspace: CudaBuffer<u8>,
    context: Arc<Context>,
}

// SAFETY: the library lets any thread use its handle; plans are behind a lock.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

/// How the library makes a product. The matrices are column-major to it: all of them transposed.
struct Plan {
    description: cublasLtMatmulDesc_t,
    weight: cublasLtMatrixLayout_t,
    input: cublasLtMatrixLayout_t,
    out: cublasLtMatrixLayout_t,
    algorithm: cublasLtMatmulAlgo_t,
}

impl Library {
    /// Opens cuBLASLt, if it is there.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of the library.
    pub(crate) fn open(context: &Arc<Context>) -> Result<Option<Self>> {
        // SAFETY: opens the library, which has no side effects beyond that.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        context.enter()?;
        let workspace = CudaBuffer::zeroed(context, WORKSPACE)?;
        let handle = result::create_handle().map_err(failed)?;
        Ok(Some(Library { handle, plans: Mutex::default(), workspace, context: context.clone() }))
    }

    /// Queues a product. The first of a size also plans it, which a recording does not mind.
    pub(crate) fn multiply(&self, size: Size, operands: &Operands) -> Result<()> {
        self.context.enter()?;
        let mut plans = self.plans();
        let plan = match plans.entry(size) {
            Entry::Occupied(plan) => plan.into_mut(),
            Entry::Vacant(place) => place.insert(Plan::new(self.handle, size)?),
        };
        if size.ending != Ending::Product {
            set(plan.description, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &operands.bias)?;
        }
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
                plan.weight,
                pointer(operands.input),
                plan.input,
                pointer(operands.out),
                plan.out,
                pointer(operands.out),
                plan.out,
                &plan.algorithm,
                pointer(self.workspace.pointer()),
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

impl Plan {
    fn new(handle: cublasLtHandle_t, size: Size) -> Result<Self> {
        let Size { rows, inputs, outputs, ending } = size;
        let of_out = match ending {
            Ending::BiasedFloat32 => cudaDataType::CUDA_R_32F,
            Ending::Product | Ending::Features | Ending::Gelu => cudaDataType::CUDA_R_16BF,
        };
        let epilogue = match ending {
            Ending::Product => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
            Ending::BiasedFloat32 | Ending::Features => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            Ending::Gelu => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_BIAS,
        };
        let layout = |of, rows: usize, columns: usize| {
            result::create_matrix_layout(of, rows as u64, columns as u64, rows as i64).map_err(failed)
        };
        let description =
            result::create_matmul_desc(cublasComputeType_t::CUBLAS_COMPUTE_32F, cudaDataType::CUDA_R_32F);
        let description = description.map_err(failed)?;
        set(description, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        set(description, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(epilogue as i32))?;
        let plan = |algorithm| -> Result<Plan> {
            Ok(Plan {
                description,
                weight: layout(cudaDataType::CUDA_R_16BF, inputs, outputs)?,
                input: layout(cudaDataType::CUDA_R_16BF, inputs, rows)?,
                out: layout(of_out, outputs, rows)?,
                algorithm,
            })
        };
        let mut plan = plan(cublasLtMatmulAlgo_t { data: [0; 8] })?;
        let preference = result::create_matmul_pref().map_err(failed)?;
        // SAFETY: the attribute is a size; descriptions and layouts were made above.
        let found = unsafe {
            let workspace = WORKSPACE;
            result::set_matmul_pref_attribute(
                preference,
                cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace).cast(),
                size_of::<usize>(),
            )
            .and_then(|()| {
                result::get_matmul_algo_heuristic(
                    handle,
                    plan.description,
                    plan.weight,
                    plan.input,
                    plan.out,
                    plan.out,
                    preference,
                )
            })
        };
        // SAFETY: made above, not used again.
        let _ = unsafe { result::destroy_matmul_pref(preference) };
        plan.algorithm = found.map_err(failed)?.algo;
        Ok(plan)
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made by `Plan::new`, not used again.
        unsafe {
            let _ = result::destroy_matmul_desc(self.description);
            for layout in [self.weight, self.input, self.out] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

fn set<T: Copy>(description: cublasLtMatmulDesc_t, attribute: Attribute, value: &T) -> Result<()> {
    let address = std::ptr::from_ref(value).cast();
    // SAFETY: every attribute set here is of the type it is given.
    unsafe { result::set_matmul_desc_attribute(description, attribute, address, size_of::<T>()) }
        .map_err(failed)
}

fn failed(CublasError(status): CublasError) -> Error {
    Error::new(Code::Internal, "cuBLASLt could not multiply.").found(format!("{status:?}"))
}
