use hmar_ops::sampling::{Scratch, keep_least_confident, open_least_confident};

use crate::random::stream;

fn selected(confidence: &[f32], count: usize, candidates: &[u8]) -> Vec<u8> {
    let mut mask = candidates.to_vec();
    keep_least_confident(confidence, count, &mut mask, &mut Scratch::default());
    mask
}

fn opened(confidence: &[f32], count: usize, open: &[u8]) -> Vec<u8> {
    let mut mask = open.to_vec();
    open_least_confident(confidence, count, &mut mask, &mut Scratch::default());
    mask
}

#[test]
fn the_least_confident_of_the_committed_are_opened_the_lower_position_among_equals() {
    let confidence = [0.5, 0.2, 0.5, 0.2, 0.9, 0.2];
    assert_eq!(opened(&confidence, 2, &[0; 6]), [0, 1, 0, 1, 0, 0]);
    assert_eq!(opened(&confidence, 2, &[0, 1, 0, 0, 0, 0]), [0, 1, 0, 1, 0, 1]);
    assert_eq!(opened(&confidence, 3, &[0, 1, 0, 1, 0, 1]), [1, 1, 1, 1, 1, 1]);
    assert_eq!(opened(&confidence, 0, &[0, 1, 0, 0, 0, 0]), [0, 1, 0, 0, 0, 0]);
    assert_eq!(opened(&confidence, 9, &[0, 0, 0, 0, 0, 1]), [1; 6]);
}

#[test]
fn what_editing_keeps_is_never_opened() {
    let confidence = [f32::INFINITY, 0.3, f32::INFINITY, 1.0];
    assert_eq!(opened(&confidence, 1, &[0; 4]), [0, 1, 0, 0]);
    assert_eq!(opened(&confidence, 4, &[0; 4]), [0, 1, 0, 1]);
}

#[test]
fn among_equals_the_lower_position_is_masked() {
    let confidence = [0.5, 0.2, 0.5, 0.2, 0.9, 0.2];
    assert_eq!(selected(&confidence, 2, &[1; 6]), [0, 1, 0, 1, 0, 0]);
    assert_eq!(selected(&confidence, 4, &[1; 6]), [1, 1, 0, 1, 0, 1]);
    assert_eq!(selected(&[1.0; 4], 3, &[1; 4]), [1, 1, 1, 0], "greedy draws are all equally confident");
}

#[test]
fn only_candidates_are_masked_and_all_of_them_if_there_are_too_few() {
    let confidence = [0.1, 0.2, 0.3, 0.4];
    assert_eq!(selected(&confidence, 1, &[0, 0, 1, 1]), [0, 0, 1, 0]);
    assert_eq!(selected(&confidence, 2, &[0, 0, 1, 1]), [0, 0, 1, 1]);
    assert_eq!(selected(&confidence, 3, &[0, 0, 1, 1]), [0, 0, 1, 1]);
    assert_eq!(selected(&confidence, 3, &[0; 4]), [0; 4]);
    assert_eq!(selected(&confidence, 0, &[1; 4]), [0; 4]);
    assert_eq!(selected(&[], 0, &[]), [0; 0]);
}

#[test]
fn agrees_with_a_full_sort() {
    for case in 0..300u32 {
        let number = |i: u32| stream(u64::from(case)).uniform(i);
        let positions = (number(0) * 300.0) as usize;
        // Few distinct values, so that most positions tie.
        let confidence: Vec<f32> =
            (0..positions).map(|i| (number(i as u32 + 2) * 12.0).ceil() as f32 / 12.0).collect();
        let candidates: Vec<u8> = (0..positions).map(|i| u8::from(number(i as u32 + 1000) < 0.7)).collect();
        let count = (number(1) * positions as f64) as usize;

        let mut order: Vec<usize> = (0..positions).filter(|&i| candidates[i] == 1).collect();
        order.sort_by(|&a, &b| confidence[a].total_cmp(&confidence[b]).then(a.cmp(&b)));
        let mut expected = vec![0; positions];
        order.iter().take(count).for_each(|&position| expected[position] = 1);
        assert_eq!(selected(&confidence, count, &candidates), expected);
    }
}
