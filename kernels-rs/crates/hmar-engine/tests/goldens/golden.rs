//! Reading goldens, and the specification's tolerances (5).

use std::path::Path;

use safetensors::SafeTensors;

/// Absolute difference allowed on logits.
pub const LOGITS: f32 = 1e-3;
/// Difference allowed on latents, relative to their standard deviation.
pub const LATENTS: f32 = 1e-4;
/// Where a margin exceeds this, tokens must agree.
pub const MARGIN: f32 = 1e-3;

/// A file of goldens.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures/golden");
        Golden(
            std::fs::read(folder.join(format!("{name}.safetensors")))
                .expect("the fixture is in the repository"),
        )
    }

    fn bytes(&self, tensor: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(tensor).unwrap().data().to_vec()
    }

    pub fn floats(&self, tensor: &str) -> Vec<f32> {
        self.bytes(tensor).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn integers(&self, tensor: &str) -> Vec<u32> {
        self.bytes(tensor).chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// The largest absolute difference; panics when lengths differ or anything is NaN.
#[track_caller]
pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |largest, (x, y)| {
        let difference = (x - y).abs();
        assert!(!difference.is_nan(), "{x} and {y}");
        largest.max(difference)
    })
}

pub fn standard_deviation(values: &[f32]) -> f32 {
    let count = values.len() as f64;
    let mean = values.iter().map(|&x| x as f64).sum::<f64>() / count;
    ((values.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / count) as f32).sqrt()
}

pub fn log_sum_exp(row: &[f32]) -> f32 {
    let largest = row.iter().copied().fold(f32::MIN, f32::max) as f64;
    (largest + row.iter().map(|&x| (x as f64 - largest).exp()).sum::<f64>().ln()) as f32
}

pub fn argmax(row: &[f32]) -> u32 {
    (0..row.len()).reduce(|best, i| if row[i] > row[best] { i } else { best }).unwrap() as u32
}

/// `[channels, cells]` to `[cells, channels]`.
pub fn channels_last(values: &[f32], channels: usize) -> Vec<f32> {
    let cells = values.len() / channels;
    (0..values.len()).map(|i| values[i % channels * cells + i / channels]).collect()
}
