//! NaN and infinity in weights.

use hmar_error::{Code, Error};

/// Whether no value is NaN or infinite.
pub fn all_finite(values: &[f32]) -> bool {
    // Branch-free within a block, so that it runs as wide as the processor allows.
    values.chunks(4096).all(|block| {
        block.iter().fold(0u32, |worst, value| worst.max(value.to_bits() & 0x7fff_ffff))
            < f32::INFINITY.to_bits()
    })
}

/// The error for a weight that is NaN or infinite.
pub fn non_finite_weight(name: &str) -> Error {
    Error::new(Code::NonFiniteWeight, format!("The tensor `{name}` has weights that are NaN or infinite."))
        .remedy("Get the file again, or allow such weights explicitly.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_5_nan_and_infinity_are_found_wherever_they_are() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for position in [0, 1, 4095, 4096, 9999] {
                let mut values = vec![f32::MAX; 10_000];
                values[1] = -f32::MAX;
                assert!(all_finite(&values));
                values[position] = bad;
                assert!(!all_finite(&values), "{bad} at {position}");
            }
        }
        assert!(all_finite(&[]));
    }
}
