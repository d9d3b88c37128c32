use super::{Scratch, index_of, rank};

/// Of the positions set in `mask` (not 0), leaves the `count` least confident set and clears the others; among equally
/// confident ones the lower position stays set. With `count` or fewer set, nothing changes.
///
/// Positions that are not set (kept by editing, or committed by an earlier pass) stay so.
pub fn keep_least_confident(confidence: &[f32], count: usize, mask: &mut [u8], scratch: &mut Scratch) {
    let Scratch { ranked, .. } = scratch;
    ranked.clear();
    let set = confidence.iter().zip(&*mask).enumerate().filter(|(_, (_, set))| **set != 0);
    ranked.extend(set.map(|(position, (&confidence, _))| rank(confidence, position)));
    if count < ranked.len() {
        ranked.select_nth_unstable(count);
        for &committed in &ranked[count..] {
            mask[index_of(committed)] = 0;
        }
    }
}
