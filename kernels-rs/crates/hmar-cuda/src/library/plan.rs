//! How the library makes a product of one size.

use cudarc::cublaslt::result;
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtEpilogue_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulMatrixScale_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t as Preference, cublasLtMatrixLayout_t, cudaDataType,
};
use hmar_error::Result;

use super::{Ending, Factors, Operands, Size, WORKSPACE, failed};

/// `CUBLAS_OP_T`.
const TRANSPOSED: i32 = 1;

/// Rows that products are planned for where all rows are to be multiplied alike.
const MANY_ROWS: usize = 8192;

/// How the library makes a product. The matrices are column-major to it: all of them transposed.
pub(super) struct Plan {
    size: Size,
    pub(super) description: cublasLtMatmulDesc_t,
    pub(super) layouts: Layouts,
    pub(super) algorithm: cublasLtMatmulAlgo_t,
}

impl Plan {
    /// The library's own first choice: candidates that measure faster are so by 2% on the whole, and a choice by the clock
    /// would make pictures depend on it. With `row_invariant` it is one choice for all numbers of rows, and sums are not
    /// split.
    pub(super) fn new(
        handle: cublasLtHandle_t,
        size: Size,
        operands: &Operands,
        row_invariant: bool,
    ) -> Result<Self> {
        let layouts = Layouts::new(size)?;
        let mut plan = Plan {
            size,
            description: describe(size)?,
            layouts,
            algorithm: cublasLtMatmulAlgo_t { data: [0; 8] },
        };
        // The library chooses nothing for scales it is not pointed to.
        plan.point_to(operands)?;
        plan.algorithm = if row_invariant {
            let many = Layouts::new(Size { rows: MANY_ROWS, ..size })?;
            choose(
                handle,
                plan.description,
                &many,
                &[(Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, 0)],
            )?
        } else {
            choose(handle, plan.description, &plan.layouts, &[])?
        };
        Ok(plan)
    }

    /// Names what the description itself has to point to.
    pub(super) fn point_to(&self, operands: &Operands) -> Result<()> {
        if self.size.ending != Ending::Product {
            set(self.description, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &operands.bias)?;
        }
        if let Some([rows, outputs]) = operands.scales {
            set(self.description, Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &outputs)?;
            set(self.description, Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &rows)?;
        }
        Ok(())
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made by `Plan::new`, not used again.
        let _ = unsafe { result::destroy_matmul_desc(self.description) };
    }
}

/// How the matrices lie in memory.
pub(super) struct Layouts {
    pub(super) weight: cublasLtMatrixLayout_t,
    pub(super) input: cublasLtMatrixLayout_t,
    pub(super) out: cublasLtMatrixLayout_t,
}

impl Layouts {
    fn new(Size { rows, inputs, outputs, factors, ending }: Size) -> Result<Self> {
        let of_factors = match factors {
            Factors::Bf16 => cudaDataType::CUDA_R_16BF,
            Factors::E4m3 => cudaDataType::CUDA_R_8F_E4M3,
        };
        let of_out = match ending {
            Ending::BiasedFloat32 => cudaDataType::CUDA_R_32F,
            Ending::Product | Ending::Features | Ending::Gelu => cudaDataType::CUDA_R_16BF,
        };
        let layout = |of, rows: usize, columns: usize| {
            result::create_matrix_layout(of, rows as u64, columns as u64, rows as i64).map_err(failed)
        };
        Ok(Layouts {
            weight: layout(of_factors, inputs, outputs)?,
            input: layout(of_factors, inputs, rows)?,
            out: layout(of_out, outputs, rows)?,
        })
    }
}

impl Drop for Layouts {
    fn drop(&mut self) {
        for layout in [self.weight, self.input, self.out] {
            // SAFETY: made by `Layouts::new`, not used again.
            let _ = unsafe { result::destroy_matrix_layout(layout) };
        }
    }
}

fn describe(Size { factors, ending, .. }: Size) -> Result<cublasLtMatmulDesc_t> {
    let epilogue = match ending {
        Ending::Product => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
        Ending::BiasedFloat32 | Ending::Features => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
        Ending::Gelu => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_BIAS,
    };
    let (compute, scalars) = (cublasComputeType_t::CUBLAS_COMPUTE_32F, cudaDataType::CUDA_R_32F);
    let description = result::create_matmul_desc(compute, scalars).map_err(failed)?;
    set(description, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
    set(description, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(epilogue as i32))?;
    if factors == Factors::E4m3 {
        let each = cublasLtMatmulMatrixScale_t::CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F as i32;
        set(description, Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &each)?;
        set(description, Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &each)?;
        // The tensor cores' own sums: the factors' rounding is coarser by far.
        set(description, Attribute::CUBLASLT_MATMUL_DESC_FAST_ACCUM, &1i8)?;
        set(
            description,
            Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
            &(cudaDataType::CUDA_R_16BF as i32),
        )?;
    }
    Ok(description)
}

/// The library's first choice within `limits`.
fn choose(
    handle: cublasLtHandle_t,
    description: cublasLtMatmulDesc_t,
    layouts: &Layouts,
    limits: &[(Preference, u32)],
) -> Result<cublasLtMatmulAlgo_t> {
    let preference = result::create_matmul_pref().map_err(failed)?;
    let prefer = |preference: cublasLtMatmulPreference_t, attribute, value: &[u8]| {
        // SAFETY: every attribute set here is of the type it is given.
        unsafe {
            result::set_matmul_pref_attribute(preference, attribute, value.as_ptr().cast(), value.len())
        }
    };
    let set = prefer(
        preference,
        Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
        bytemuck::bytes_of(&WORKSPACE),
    );
    let set = limits.iter().fold(set, |set, (attribute, value)| {
        set.and_then(|()| prefer(preference, *attribute, bytemuck::bytes_of(value)))
    });
    let &Layouts { weight, input, out } = layouts;
    let found = set.and_then(|()| {
        // SAFETY: descriptions and layouts are alive.
        unsafe { result::get_matmul_algo_heuristic(handle, description, weight, input, out, out, preference) }
    });
    // SAFETY: made above, not used again.
    let _ = unsafe { result::destroy_matmul_pref(preference) };
    Ok(found.map_err(failed)?.algo)
}

fn set<T: Copy>(description: cublasLtMatmulDesc_t, attribute: Attribute, value: &T) -> Result<()> {
    let address = std::ptr::from_ref(value).cast();
    // SAFETY: every attribute set here is of the type it is given.
    unsafe { result::set_matmul_desc_attribute(description, attribute, address, size_of::<T>()) }
        .map_err(failed)
}
