//! Resizing between a scale's token map and the latent grid (2.3), channels last.

use std::ops::Range;

/// Rows (or columns) of the grid that cell `i` of `cells` averages: ⌊i·S/n⌋ … ⌈(i+1)·S/n⌉ − 1.
fn area_bin(i: usize, side: usize, cells: usize) -> Range<usize> {
    i * side / cells..((i + 1) * side).div_ceil(cells)
}

/// Adaptive average pooling of one `[side, side, width]` grid, handed to `put(cell, averages)` cell by cell.
pub(super) fn area(
    side: usize,
    cells: usize,
    width: usize,
    input: &[f32],
    mut put: impl FnMut(usize, &[f32]),
) {
    let mut average = vec![0.0; width];
    for cell in 0..cells * cells {
        let (rows, columns) = (area_bin(cell / cells, side, cells), area_bin(cell % cells, side, cells));
        let count = (rows.len() * columns.len()) as f32;
        average.fill(0.0);
        for row in rows {
            for pixel in columns.clone().map(|column| row * side + column) {
                let pixel = &input[pixel * width..(pixel + 1) * width];
                average.iter_mut().zip(pixel).for_each(|(sum, x)| *sum += x);
            }
        }
        average.iter_mut().for_each(|sum| *sum /= count);
        put(cell, &average);
    }
}

/// The four sources of an output position and their weights: cubic convolution with a = −0.75, half-pixel
/// centres, indices clamped to the border.
fn cubic_taps(position: usize, input: usize, output: usize) -> ([usize; 4], [f32; 4]) {
    const A: f32 = -0.75;
    let source = (position as f32 + 0.5) * (input as f32 / output as f32) - 0.5;
    let floor = source.floor();
    let t = source - floor;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let index = |offset: isize| (floor as isize + offset).clamp(0, input as isize - 1) as usize;
    ([index(-1), index(0), index(1), index(2)], [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)])
}

/// Bicubic enlargement of one `[cells, cells, width]` map to `[side, side, width]`; a copy when they are equal.
pub(super) fn bicubic(cells: usize, side: usize, width: usize, input: &[f32], out: &mut [f32]) {
    if cells == side {
        return out.copy_from_slice(input);
    }
    // Columns first, then rows.
    let mut wide = vec![0.0; cells * side * width];
    for (row, out) in wide.chunks_exact_mut(side * width).enumerate() {
        for (column, out) in out.chunks_exact_mut(width).enumerate() {
            let (sources, weights) = cubic_taps(column, cells, side);
            weighted(out, sources.map(|source| &input[(row * cells + source) * width..][..width]), weights);
        }
    }
    for (row, out) in out.chunks_exact_mut(side * width).enumerate() {
        let (sources, weights) = cubic_taps(row, cells, side);
        weighted(out, sources.map(|source| &wide[source * side * width..][..side * width]), weights);
    }
}

fn weighted(out: &mut [f32], sources: [&[f32]; 4], weights: [f32; 4]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = sources[0][i] * weights[0]
            + sources[1][i] * weights[1]
            + sources[2][i] * weights[2]
            + sources[3][i] * weights[3];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_overlap_when_the_cells_do_not_divide_the_side() {
        let bins: Vec<_> = (0..6).map(|i| area_bin(i, 8, 6)).collect();
        assert_eq!(bins, [0..2, 1..3, 2..4, 4..6, 5..7, 6..8]);
    }

    #[test]
    fn a_constant_survives_both_directions() {
        for cells in 1..=16 {
            let mut large = vec![0.0; 16 * 16 * 2];
            bicubic(cells, 16, 2, &vec![3.0; cells * cells * 2], &mut large);
            assert!(large.iter().all(|x| (x - 3.0).abs() < 1e-5), "{cells}");
            area(16, cells, 2, &large, |_, average| assert!(average.iter().all(|x| (x - 3.0).abs() < 1e-5)));
        }
    }

    #[test]
    fn taps_sum_to_one_and_clamp_at_the_border() {
        for position in 0..16 {
            let (sources, weights) = cubic_taps(position, 3, 16);
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!(sources.iter().all(|&source| source < 3));
        }
        assert_eq!(cubic_taps(0, 3, 16).0, [0, 0, 0, 1]);
    }
}
