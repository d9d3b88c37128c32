//! Reading goldens, and the specification's tolerances (5).

use std::path::Path;

use hmar_error::{Code, Error, Result};
use safetensors::SafeTensors;

/// Absolute difference allowed on logits in float32.
pub const LOGITS: f64 = 1e-3;
/// Difference allowed on latents in float32, relative to their standard deviation.
pub const LATENTS: f64 = 1e-4;
/// Where a margin exceeds this, tokens must agree in float32.
pub const MARGIN: f32 = 1e-3;

/// A file of goldens.
pub struct Golden(Vec<u8>);

impl Golden {
    /// Reads it.
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |error| {
            Error::new(Code::FileUnreadable, format!("{} cannot be read.", path.display())).found(error)
        };
        Ok(Golden(std::fs::read(path).map_err(unreadable)?))
    }

    fn bytes(&self, tensor: &str) -> Vec<u8> {
        let tensors = SafeTensors::deserialize(&self.0).expect("the fixture is whole");
        tensors.tensor(tensor).expect("the fixture has the tensor").data().to_vec()
    }

    /// A tensor of numbers.
    pub fn floats(&self, tensor: &str) -> Vec<f32> {
        let bytes = self.bytes(tensor);
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// A tensor of indices.
    pub fn integers(&self, tensor: &str) -> Vec<u32> {
        let bytes = self.bytes(tensor);
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}

/// How far two lists are apart.
#[derive(Clone, Copy, Debug)]
pub struct Distance {
    /// The largest absolute difference; NaN where one is.
    pub largest: f64,
    /// ‖a − b‖ / ‖b‖.
    pub relative: f64,
}

impl Distance {
    /// Of what was found from what is expected.
    pub fn between(found: &[f32], expected: &[f32]) -> Self {
        assert_eq!(found.len(), expected.len());
        let (mut largest, mut difference, mut norm) = (0.0f64, 0.0, 0.0);
        for (&x, &y) in found.iter().zip(expected) {
            let error = (f64::from(x) - f64::from(y)).abs();
            largest = if error <= largest { largest } else { error };
            difference += error * error;
            norm += f64::from(y).powi(2);
        }
        Distance { largest, relative: (difference / norm).sqrt() }
    }
}

/// The square root of the mean squared deviation.
pub fn standard_deviation(values: &[f32]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    (values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count).sqrt()
}

/// ln Σ exp.
pub fn log_sum_exp(row: &[f32]) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::MIN, f32::max));
    largest + row.iter().map(|&x| (f64::from(x) - largest).exp()).sum::<f64>().ln()
}

/// The index of the largest.
pub fn argmax(row: &[f32]) -> u32 {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as u32
}

/// `[channels, cells]` to `[cells, channels]`.
pub fn channels_last(values: &[f32], channels: usize) -> Vec<f32> {
    let cells = values.len() / channels;
    (0..values.len()).map(|i| values[i % channels * cells + i / channels]).collect()
}
