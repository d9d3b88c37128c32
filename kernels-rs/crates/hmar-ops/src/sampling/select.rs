use super::{Scratch, index_of, rank};

/// Of the positions set in `mask` (not 0), leaves the `count` least confident set and clears the others; among equally
/// confident ones the lower position stays set. With `count` or fewer set, nothing changes.
///
/// Positions that are not set (kept by editing, or committed by an earlier pass) stay so.
pub fn keep_least_confident(confidence: &[f32], count: usize, mask: &mut [u8], scratch: &mut Scratch) {
    let (_, committed) = split(confidence, count, |position, _| mask[position] != 0, scratch);
    for &position in committed {
        mask[index_of(position)] = 0;
    }
}

/// Of the positions not set in `mask`, sets the `count` least confident; among equally confident ones the lower
/// position. With `count` or fewer to choose from, it sets them all.
///
/// Positions of infinite confidence are never set.
pub fn open_least_confident(confidence: &[f32], count: usize, mask: &mut [u8], scratch: &mut Scratch) {
    let closed = |position: usize, confidence: f32| mask[position] == 0 && confidence != f32::INFINITY;
    let (opened, _) = split(confidence, count, closed, scratch);
    for &position in opened {
        mask[index_of(position)] = 1;
    }
}

/// Parts the candidates, as ranks, into the `count` least confident and the others.
fn split<'a>(
    confidence: &[f32],
    count: usize,
    is_candidate: impl Fn(usize, f32) -> bool,
    Scratch { ranked, .. }: &'a mut Scratch,
) -> (&'a [u64], &'a [u64]) {
    ranked.clear();
    let candidates = confidence.iter().enumerate().filter(|&(position, &x)| is_candidate(position, x));
    ranked.extend(candidates.map(|(position, &confidence)| rank(confidence, position)));
    if count < ranked.len() {
        ranked.select_nth_unstable(count);
    }
    ranked.split_at(count.min(ranked.len()))
}
