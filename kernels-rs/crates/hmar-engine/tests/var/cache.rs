//! Generation with a cache computes what a pass over the whole pyramid computes, and sessions bring the cache back.

use std::sync::Arc;

use hmar_checkpoint::{Layout, ModelConfig};
use hmar_engine::{Cancel, Kept, Plan, Request, Stepper};
use hmar_ops::CpuBackend;
use hmar_ops::sampling::guide;

use super::models::*;

const PYRAMID: [usize; 5] = [1, 2, 3, 4, 6];
const TOKENS: usize = 66;
const VOCABULARY: usize = 64;
const NULL: u32 = 10;

fn cancel() -> Cancel {
    Cancel::default()
}

fn var() -> Loaded {
    load(config(Layout::Var, &PYRAMID))
}

fn open(loaded: &Loaded, request: Request) -> Stepper<CpuBackend> {
    Stepper::open(Arc::clone(&loaded.model), request).unwrap()
}

fn finish(stepper: &mut Stepper<CpuBackend>) {
    while stepper.next() < stepper.request().plan.passes.len() {
        stepper.step(&cancel()).unwrap();
    }
}

/// The guided logits of every pass as teacher forcing has them, with nothing cached: `[images, N, V]`.
fn recomputed(loaded: &Loaded, plan: &Plan, labels: &[u32], tokens: &[u32]) -> Vec<f32> {
    let of_image = |(&label, map): (&u32, &[u32])| {
        let of_class = |label| loaded.model.logits(map, label, None, &cancel()).unwrap();
        let (mut conditional, unconditional) = (of_class(label), of_class(NULL));
        let mut start = 0;
        for pass in &plan.passes {
            let range = start..start + pass.commits * VOCABULARY;
            if pass.guidance != 0.0 {
                guide(&mut conditional[range.clone()], &unconditional[range.clone()], pass.guidance);
            }
            start = range.end;
        }
        conditional
    };
    labels.iter().zip(tokens.chunks_exact(TOKENS)).flat_map(of_image).collect()
}

/// Runs a request, keeping the logits of every pass, `[images, N, V]`.
fn logits_of(stepper: &mut Stepper<CpuBackend>) -> Vec<f32> {
    let images = stepper.request().labels.len();
    let mut all = vec![Vec::new(); images];
    while stepper.next() < stepper.request().plan.passes.len() {
        let logits = stepper.logits(&cancel()).unwrap();
        let parts = logits.chunks_exact(logits.len() / images);
        all.iter_mut().zip(parts).for_each(|(image, part)| image.extend_from_slice(part));
        stepper.step(&cancel()).unwrap();
    }
    all.concat()
}

/// A mask that keeps the left half of a picture.
fn left_half(loaded: &Loaded) -> Kept {
    let mask: Vec<f32> = (0..36).map(|cell| if cell % 6 < 3 { 1.0 } else { 0.0 }).collect();
    let tokens = (0..TOKENS as u32).map(|i| i * 7 % 64).collect();
    Kept::new(loaded.model.config(), tokens, Some(&mask), 0).unwrap()
}

#[test]
fn cached_logits_are_those_without_a_cache() {
    for shared_ada_ln in [false, true] {
        let loaded = load(ModelConfig { shared_ada_ln, ..config(Layout::Var, &PYRAMID) });
        for keep in [None, Some(left_half(&loaded))] {
            for guidance in [0.0, 2.5] {
                let (plan, labels) = (plan(&PYRAMID, guidance), [4, 0, 9]);
                let mut stepper =
                    open(&loaded, Request { keep: keep.clone(), ..request(plan.clone(), &labels) });
                let found = logits_of(&mut stepper);
                // The CPU adds up every row in the same order whatever is beside it, so the bits are the same.
                assert!(found == recomputed(&loaded, &plan, &labels, stepper.tokens()));
            }
        }
    }
}

#[test]
fn runs_steps_and_batches_give_the_same_pictures() {
    let loaded = var();
    for keep in [None, Some(left_half(&loaded))] {
        let request = || Request { keep: keep.clone(), ..request(plan(&PYRAMID, 2.0), &[1, 2, 3]) };
        let whole = generate(&loaded, &request());
        let mut stepper = open(&loaded, request());
        finish(&mut stepper);
        assert_eq!(stepper.tokens(), whole.tokens);
        assert_eq!(stepper.pictures(&loaded.tokenizer, &cancel()).unwrap(), whole.pixels);
        assert_eq!(generate(&loaded, &Request { batch: 2, ..request() }).pixels, whole.pixels);
    }
}

#[test]
fn editing_keeps_its_tokens_and_the_rest_follows_them() {
    let loaded = var();
    let kept = left_half(&loaded);
    let plain = generate(&loaded, &request(plan(&PYRAMID, 2.0), &[1, 2]));
    let edited =
        generate(&loaded, &Request { keep: Some(kept.clone()), ..request(plan(&PYRAMID, 2.0), &[1, 2]) });
    for (edited, plain) in edited.tokens.chunks_exact(TOKENS).zip(plain.tokens.chunks_exact(TOKENS)) {
        let is_kept = |at: &usize| kept.free()[*at] == 0;
        assert!((0..TOKENS).filter(is_kept).all(|at| edited[at] == kept.tokens()[at]));
        assert!((0..TOKENS).filter(|at| !is_kept(at)).any(|at| edited[at] != plain[at]));
    }
}

#[test]
fn a_session_goes_on_from_wherever_it_was_saved() {
    let loaded = var();
    for keep in [None, Some(left_half(&loaded))] {
        let request = |keep| Request { keep, ..request(plan(&PYRAMID, 2.0), &[1, 10]) };
        let mut stepper = open(&loaded, request(keep));
        let mut saved = Vec::new();
        while stepper.next() < PYRAMID.len() {
            saved.push(stepper.save("").unwrap());
            stepper.step(&cancel()).unwrap();
        }
        saved.push(stepper.save("").unwrap());
        for bytes in &saved {
            let model = Arc::clone(&loaded.model);
            let mut other = Stepper::resume(model, request(None), bytes, None, &cancel()).unwrap();
            assert_eq!(other.save("").unwrap(), *bytes);
            finish(&mut other);
            assert_eq!(other.save("").unwrap(), *saved.last().unwrap());
        }
    }
}

#[test]
fn a_fork_shares_what_was_and_nothing_of_what_comes() {
    let loaded = var();
    let make = |seed| Request { seed, ..request(plan(&PYRAMID, 2.0), &[1, 2]) };
    let mut stepper = open(&loaded, make(11));
    (0..3).for_each(|_| stepper.step(&cancel()).unwrap());
    let saved = stepper.save("").unwrap();
    let model = Arc::clone(&loaded.model);
    let mut fork = Stepper::resume(model, make(12), &saved, None, &cancel()).unwrap();
    finish(&mut fork);
    finish(&mut stepper);
    for (a, b) in stepper.tokens().chunks_exact(TOKENS).zip(fork.tokens().chunks_exact(TOKENS)) {
        assert_eq!(a[..14], b[..14]);
        assert_ne!(a[14..], b[14..]);
    }
    assert_eq!(stepper.tokens(), generate(&loaded, &make(11)).tokens);
    let fork_logits = recomputed(&loaded, &fork.request().plan, &[1, 2], fork.tokens());
    let mut again = Stepper::resume(Arc::clone(&loaded.model), make(12), &saved, None, &cancel()).unwrap();
    let found = logits_of(&mut again);
    let rest = fork_logits.chunks_exact(TOKENS * VOCABULARY).flat_map(|image| &image[14 * VOCABULARY..]);
    assert!(found.iter().eq(rest));
}

/// Logits that were looked at before tokens are replaced are computed again, the last scale's too.
#[test]
fn replaced_tokens_are_what_later_scales_see() {
    let loaded = var();
    let (plan, labels) = (plan(&PYRAMID, 2.0), [1, 2]);
    let mut stepper = open(&loaded, request(plan.clone(), &labels));
    let mut found = vec![Vec::new(); labels.len()];
    for pass in &plan.passes {
        stepper.logits(&cancel()).unwrap();
        if stepper.next() > 0 {
            let replaced: Vec<u32> = stepper.view().tokens.iter().map(|token| (token + 1) % 64).collect();
            stepper.replace_tokens(&replaced, None).unwrap();
        }
        let logits = stepper.logits(&cancel()).unwrap();
        let parts = logits.chunks_exact(pass.commits * VOCABULARY);
        found.iter_mut().zip(parts).for_each(|(image, part)| image.extend_from_slice(part));
        stepper.step(&cancel()).unwrap();
    }
    assert!(found.concat() == recomputed(&loaded, &plan, &labels, stepper.tokens()));
}

#[test]
fn the_cache_holds_keys_and_values_of_all_scales_but_the_last() {
    let bytes = |layout| {
        let loaded = load(config(layout, &PYRAMID));
        let stepper = open(&loaded, request(plan(&PYRAMID, 2.0), &[1, 2]));
        let bytes = loaded.model.batch_bytes();
        drop(stepper);
        assert_eq!(loaded.model.batch_bytes(), 0);
        bytes
    };
    let ModelConfig { depth, width, .. } = config(Layout::Var, &PYRAMID);
    let rows = depth * (TOKENS - 36) + TOKENS;
    let (sequences, keys_and_values) = (4, 2);
    let expected = sequences * rows * keys_and_values * width * size_of::<f32>();
    assert_eq!(bytes(Layout::Var) - bytes(Layout::NextScale), expected as u64);
}
